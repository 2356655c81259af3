from volant.notebook import experiments as experiments
from volant.notebook import login as login
from volant.notebook import models as models
from volant.notebook import predict as predict
from volant.notebook import runs as runs

__version__: str
