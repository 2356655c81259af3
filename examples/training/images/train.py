"""A small convolutional network over pictures, whose training goes on where it was stopped."""

import base64
import io

import numpy as np
import torch
from PIL import Image
from torch import nn

from volant.training import checkpoint, checkpoint_dir


def read(picture, size):
    """Gray values in [0, 1], [1, size, size]; `picture` is a path, or the file itself as
    `data:image/png;base64,…`, for clients whose files the server can't read."""
    if picture.startswith("data:"):
        picture = io.BytesIO(base64.b64decode(picture.partition(",")[2]))
    with Image.open(picture) as opened:
        gray = opened.convert("L").resize((size, size))
    return torch.from_numpy(np.asarray(gray, np.float32) / 255.0).unsqueeze(0)


class Pictures(torch.utils.data.Dataset):
    """Opens each picture when it is asked for: they needn't fit into memory together."""

    def __init__(self, paths, codes, size):
        self.paths, self.codes, self.size = paths, codes, size

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return read(self.paths[index], self.size), self.codes[index]


def network(classes):
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, classes),
    )


class Classifier:
    """What is served: the columns come as they are in the dataset, without the target."""

    def __init__(self, net, classes, size):
        self.net, self.classes_, self.size = net.eval(), classes, size

    def predict_proba(self, X):
        pictures = torch.stack([read(str(each), self.size) for each in X["picture"]])
        with torch.inference_mode():
            return torch.softmax(self.net(pictures), dim=1).numpy()

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def fit(X, y, params, seed, log_metric):
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    classes, codes = np.unique(np.asarray(y, dtype=str), return_inverse=True)
    pictures = Pictures([str(each) for each in X["picture"]], codes, params["size"])
    net = network(len(classes)).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=params["lr"])
    state, begin = checkpoint_dir() / "state.pt", 0
    if state.exists():
        saved = torch.load(state, map_location=device, weights_only=True)
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["random"].cpu())
        begin = saved["epoch"]
        print(f"going on with epoch {begin}", flush=True)
    rows = torch.utils.data.DataLoader(pictures, batch_size=params["batch"], shuffle=True)
    for epoch in range(begin, params["epochs"]):
        total = 0.0
        for batch, truth in rows:
            loss = nn.functional.cross_entropy(net(batch.to(device)), truth.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(truth)
        log_metric("train_loss", total / len(pictures), epoch)
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
    return Classifier(net.to("cpu"), classes, params["size"])
