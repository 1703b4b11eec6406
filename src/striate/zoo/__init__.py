"""Every network by its name: the only place where a backbone meets a head."""

from striate.zoo.build import body_of as body_of
from striate.zoo.build import build_network as build_network
from striate.zoo.build import create_model as create_model
from striate.zoo.build import fill as fill
from striate.zoo.build import load_network as load_network
from striate.zoo.build import names_of_weights as names_of_weights
from striate.zoo.table import ZOO as ZOO
from striate.zoo.table import Entry as Entry
from striate.zoo.table import find_model as find_model
from striate.zoo.table import list_models as list_models
