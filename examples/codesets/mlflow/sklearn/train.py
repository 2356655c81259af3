"""Fits an elastic net to wine-quality.csv and logs it with MLflow. The rows are made up, in
the shape of the Wine Quality data of P. Cortez et al. (2009)."""

import argparse
from pathlib import Path

import mlflow
import mlflow.sklearn
import pandas as pd
from sklearn.linear_model import ElasticNet
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser()
parser.add_argument("--alpha", type=float, default=0.05)
parser.add_argument("--l1-ratio", type=float, default=0.5)
args = parser.parse_args()

wines = pd.read_csv(Path(__file__).with_name("wine-quality.csv"))
train, test = train_test_split(wines, random_state=7)
known, asked = train.drop(columns="quality"), test.drop(columns="quality")

with mlflow.start_run():
    model = ElasticNet(alpha=args.alpha, l1_ratio=args.l1_ratio, random_state=7)
    model.fit(known, train["quality"])
    said = model.predict(asked)
    mlflow.log_metric("mae", mean_absolute_error(test["quality"], said))
    mlflow.log_metric("r2", r2_score(test["quality"], said))
    mlflow.sklearn.log_model(model, "model")
