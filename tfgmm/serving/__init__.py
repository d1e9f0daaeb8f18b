"""Use of trained ensembles outside Python: export, model servers, and a client of model servers.

A model is an ensemble exported as a TensorFlow SavedModel. A signature is a named function of a SavedModel.

client        predictions from a model server, as xarray datasets or tables
export        an ensemble -> one SavedModel in a new version folder
graph         an ensemble as TensorFlow functions that need no Python
grpc_service  the gRPC interface of TensorFlow Serving, and health checks
http          HTTP with time limits: protocol, bodies of requests, responses sent piece by piece
limits        limits of a server, threads that compute, reasons why a request is refused
messages      the message of a gRPC request -> arrays, checked before they are unpacked
models        SavedModels in memory, of each model the newest version
projection    longitude and latitude -> pixel by TensorFlow operations
readme        the README beside an exported model
rest          the REST interface of TensorFlow Serving, and the JSON of its requests
server        a server with REST and gRPC interfaces, for machines without docker
transport     one request to a model server, over REST or gRPC
"""
