"""Import this before anything that uses OpenMP, in a process that trains."""

import os

# Threads of GNU's OpenMP spin while they wait for one another. Beside other busy
# processes that makes LightGBM's and scikit-learn's fits many times slower than
# sleeping does. Read once, when the library loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
