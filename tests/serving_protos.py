"""Protos of TensorFlow Serving that no package ships, with the fields that its sources give them.

`tensorflow_serving/servables/tensorflow/session_bundle_config.proto` and `config/monitoring_config.proto`.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

_FIELD = descriptor_pb2.FieldDescriptorProto


def _messages():
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="serving.proto", package="serving", syntax="proto3", dependency=[wrappers_pb2.DESCRIPTOR.name]
    )

    def message(name, **fields):
        found = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            label = _FIELD.LABEL_REPEATED if kind.startswith("repeated ") else _FIELD.LABEL_OPTIONAL
            kind = kind.removeprefix("repeated ")
            if kind[0] == ".":
                found.field.add(name=field, number=number, label=label, type=_FIELD.TYPE_MESSAGE, type_name=kind)
            else:
                found.field.add(name=field, number=number, label=label, type=getattr(_FIELD, f"TYPE_{kind.upper()}"))

    integer = ".google.protobuf.Int64Value"
    message(
        "BatchingParameters",
        max_batch_size=integer,
        batch_timeout_micros=integer,
        max_enqueued_batches=integer,
        num_batch_threads=integer,
        thread_pool_name=".google.protobuf.StringValue",
        allowed_batch_sizes="repeated int64",
        pad_variable_length_inputs="bool",
        enable_large_batch_splitting=".google.protobuf.BoolValue",
        max_execution_batch_size=integer,
    )
    message("PrometheusConfig", enable="bool", path="string")
    message("MonitoringConfig", prometheus_config=".serving.PrometheusConfig")
    pool.Add(file)
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"serving.{name}"))
        for name in ("BatchingParameters", "MonitoringConfig")
    ]


BatchingParameters, MonitoringConfig = _messages()
