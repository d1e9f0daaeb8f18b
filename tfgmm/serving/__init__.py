"""Use of trained ensembles outside Python: export, model servers, and a client of model servers.

A model is an ensemble exported as a TensorFlow SavedModel. A signature is a named function of a SavedModel.

client        request predictions from a model server, over REST or gRPC
docker        the command that runs TensorFlow Serving itself
export        an ensemble -> one SavedModel in a new version folder
gmpe_table    the backbone of a run -> one table for OpenQuake
graph         an ensemble as TensorFlow functions that need no Python, with the map projection
grpc_service  the gRPC service of a model server, and its messages
http          HTTP with time limits: protocol, bodies of requests, responses sent piece by piece
limits        limits of a server, threads that compute, reasons why a request is refused
models        SavedModels in memory, of each model the newest version
readme        the README beside an exported model
rest          the REST interface of TensorFlow Serving, and the JSON of its requests
server        a server with REST and gRPC interfaces, for machines without docker
"""
