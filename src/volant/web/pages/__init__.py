"""The pages that the control plane serves: plain files, put together when they are asked for."""
