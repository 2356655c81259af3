"""A network for numbers, trained in PyTorch; the training goes on where it was stopped."""

import numpy as np
import torch
from torch import nn

from volant.training import checkpoint, checkpoint_dir


def table(X, names):
    """[rows, columns] in float32, of a DataFrame or a pyarrow table."""
    columns = [np.asarray(X[name], dtype=np.float32) for name in names]
    return torch.from_numpy(np.column_stack(columns))


class Regressor:
    """What is served: every preparation belongs here, and the model is on the processor."""

    def __init__(self, net, names, mean, scale):
        self.net, self.names, self.mean, self.scale = net.eval(), names, mean, scale

    def predict(self, X):
        with torch.inference_mode():
            return self.net((table(X, self.names) - self.mean) / self.scale)[:, 0].numpy()


def fit(X, y, params, seed, log_metric):
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    names = list(getattr(X, "column_names", X.columns))
    x, truth = table(X, names), torch.from_numpy(np.asarray(y, dtype=np.float32))
    mean, scale = x.mean(0), x.std(0)
    x, truth = ((x - mean) / scale).to(device), truth.to(device)
    width = params["width"]
    net = nn.Sequential(
        nn.Linear(len(names), width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(),
        nn.Linear(width, 1),
    ).to(device)  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters(), lr=params["lr"])
    state, begin = checkpoint_dir() / "state.pt", 0
    if state.exists():
        saved = torch.load(state, map_location=device, weights_only=True)
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["random"].cpu())
        begin = saved["epoch"]
        print(f"going on with epoch {begin}", flush=True)
    for epoch in range(begin, params["epochs"]):
        losses = []
        for chosen in torch.randperm(len(x)).to(device).split(params["batch"]):
            loss = nn.functional.mse_loss(net(x[chosen])[:, 0], truth[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        log_metric("train_loss", float(np.mean(losses)), epoch)
        torch.save(
            {
                "net": net.state_dict(),
                "optimizer": optimizer.state_dict(),
                "random": torch.get_rng_state(),
                "epoch": epoch + 1,
            },
            state,
        )
        checkpoint()
    return Regressor(net.to("cpu"), names, mean, scale)
