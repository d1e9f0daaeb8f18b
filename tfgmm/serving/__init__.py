"""The model elsewhere: export, servers, clients.

client        ask a model server: tables in, xarray or tables out
export        an ensemble -> one SavedModel in a new version folder
graph         an ensemble as TensorFlow functions that need no Python
grpc_service  the gRPC interface of TensorFlow Serving, and health checks
http          HTTP that does not wait for ever: protocol, bodies of requests, answers piece by piece
limits        how much a server takes on, who computes, and why a request is refused
messages      the message of a gRPC request -> arrays, checked before it is unpacked
models        versions of SavedModels in memory, the newest of which answer
projection    longitude and latitude -> pixel by TensorFlow operations
readme        the README beside an exported model
rest          the REST interface of TensorFlow Serving, and the JSON of its requests
server        REST and gRPC in front of models, for machines without docker
transport     one request to a model server, over REST or gRPC
"""
