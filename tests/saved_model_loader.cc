// Runs every signature of a SavedModel on texts, with the loader that TensorFlow Serving uses and without Python.
//
//   saved_model_loader MODEL TEXTS
//
// TEXTS holds before the bytes of each text their number, a little-endian uint32. A signature whose input is named
// `inputs` gets each text as the feature `text` of a tf.Example. Standard output gets one JSON object,
// {signature: {output: {"shape": [...], "values": [...]}}}, strings in hexadecimal.

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/example/example.pb.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/public/session.h"

namespace tf = tensorflow;

std::vector<std::string> ReadTexts(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<std::string> texts;
  unsigned char size[4];
  while (file.read(reinterpret_cast<char*>(size), 4)) {
    std::string text(size[0] | size[1] << 8 | size[2] << 16 | static_cast<uint32_t>(size[3]) << 24, '\0');
    file.read(&text[0], text.size());
    texts.push_back(text);
  }
  return texts;
}

tf::Tensor InputTensor(const std::string& name, const std::vector<std::string>& texts) {
  tf::Tensor tensor(tf::DT_STRING, tf::TensorShape({static_cast<int64_t>(texts.size())}));
  for (size_t row = 0; row < texts.size(); ++row) {
    std::string value = texts[row];
    if (name == "inputs") {
      tf::Example example;
      (*example.mutable_features()->mutable_feature())["text"].mutable_bytes_list()->add_value(texts[row]);
      value = example.SerializeAsString();
    }
    tensor.flat<tf::tstring>()(row) = value;
  }
  return tensor;
}

void PrintValue(const tf::Tensor& tensor, int64_t index) {
  if (tensor.dtype() == tf::DT_FLOAT) {
    std::printf("%.9g", tensor.flat<float>()(index));
  } else if (tensor.dtype() == tf::DT_INT32) {
    std::printf("%d", tensor.flat<int32_t>()(index));
  } else {
    std::printf("\"");
    for (unsigned char byte : std::string(tensor.flat<tf::tstring>()(index))) std::printf("%02x", byte);
    std::printf("\"");
  }
}

void PrintTensor(const tf::Tensor& tensor) {
  std::printf("{\"shape\": [");
  for (int axis = 0; axis < tensor.dims(); ++axis) {
    std::printf("%s%lld", axis ? ", " : "", static_cast<long long>(tensor.dim_size(axis)));
  }
  std::printf("], \"values\": [");
  for (int64_t index = 0; index < tensor.NumElements(); ++index) {
    if (index) std::printf(", ");
    PrintValue(tensor, index);
  }
  std::printf("]}");
}

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: saved_model_loader MODEL TEXTS\n";
    return 2;
  }
  const std::vector<std::string> texts = ReadTexts(argv[2]);
  tf::SavedModelBundle bundle;
  absl::Status status = tf::LoadSavedModel(tf::SessionOptions(), tf::RunOptions(), argv[1], {"serve"}, &bundle);
  if (!status.ok()) {
    std::cerr << "cannot load: " << status.ToString() << "\n";
    return 1;
  }
  const char* separator = "{";
  for (const auto& [name, signature] : bundle.GetSignatures()) {
    if (signature.method_name().empty()) continue;  // the initializer, which the loader has run
    std::vector<std::pair<std::string, tf::Tensor>> inputs;
    for (const auto& [key, info] : signature.inputs()) inputs.emplace_back(info.name(), InputTensor(key, texts));
    std::vector<std::string> keys, fetches;
    for (const auto& [key, info] : signature.outputs()) {
      keys.push_back(key);
      fetches.push_back(info.name());
    }
    std::vector<tf::Tensor> outputs;
    status = bundle.GetSession()->Run(inputs, fetches, {}, &outputs);
    if (!status.ok()) {
      std::cerr << "cannot run " << name << ": " << status.ToString() << "\n";
      return 1;
    }
    std::printf("%s\"%s\": {", separator, name.c_str());
    for (size_t index = 0; index < keys.size(); ++index) {
      std::printf("%s\"%s\": ", index ? ", " : "", keys[index].c_str());
      PrintTensor(outputs[index]);
    }
    std::printf("}");
    separator = ", ";
  }
  std::printf("}\n");
  return 0;
}
