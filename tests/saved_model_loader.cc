// Runs signatures of a SavedModel with the loader that TensorFlow Serving uses and without Python.
//
//   saved_model_loader MODEL INPUTS...
//
// A file of INPUTS holds one tensor after another: signature, input, dtype (a number of tensorflow.DataType), rank, dimensions,
// values. Numbers are little-endian and of 32 bits, and before the bytes of a string stands how many there are. Every
// signature with a tensor in it runs; the others do not. Standard output gets for each file one line of JSON,
// {signature: {output: {"shape": [...], "values": [...]}}}, strings in hexadecimal.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/public/session.h"

namespace tf = tensorflow;

using Inputs = std::map<std::string, std::map<std::string, tf::Tensor>>;  // by signature and input

bool ReadNumber(std::istream& file, uint32_t* number) {
  unsigned char bytes[4];
  if (!file.read(reinterpret_cast<char*>(bytes), 4)) return false;
  *number = bytes[0] | bytes[1] << 8 | bytes[2] << 16 | static_cast<uint32_t>(bytes[3]) << 24;
  return true;
}

bool ReadString(std::istream& file, std::string* text) {
  uint32_t size;
  if (!ReadNumber(file, &size)) return false;
  text->resize(size);
  return static_cast<bool>(file.read(&(*text)[0], size));
}

bool ReadTensor(std::istream& file, tf::Tensor* tensor) {
  uint32_t dtype, rank, size;
  if (!ReadNumber(file, &dtype) || !ReadNumber(file, &rank)) return false;
  tf::TensorShape shape;
  for (uint32_t axis = 0; axis < rank; ++axis) {
    if (!ReadNumber(file, &size)) return false;
    shape.AddDim(size);
  }
  *tensor = tf::Tensor(static_cast<tf::DataType>(dtype), shape);
  for (int64_t index = 0; index < tensor->NumElements(); ++index) {
    if (dtype == tf::DT_STRING) {
      std::string text;
      if (!ReadString(file, &text)) return false;
      tensor->flat<tf::tstring>()(index) = text;
    } else {
      uint32_t number;
      if (!ReadNumber(file, &number)) return false;
      if (dtype == tf::DT_INT32) {
        tensor->flat<int32_t>()(index) = static_cast<int32_t>(number);
      } else if (dtype == tf::DT_FLOAT) {
        std::memcpy(&tensor->flat<float>()(index), &number, 4);
      } else {
        return false;
      }
    }
  }
  return true;
}

bool ReadInputs(const char* path, Inputs* inputs) {
  std::ifstream file(path, std::ios::binary);
  std::string signature, name;
  while (ReadString(file, &signature)) {
    if (!ReadString(file, &name) || !ReadTensor(file, &(*inputs)[signature][name])) return false;
  }
  return file.eof();
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

// Runs the signatures that there are inputs for; says whether all of them ran.
bool RunSignatures(const tf::SavedModelBundle& bundle, const Inputs& given) {
  const char* separator = "{";
  for (const auto& [name, tensors] : given) {
    const auto found = bundle.GetSignatures().find(name);
    if (found == bundle.GetSignatures().end()) {
      std::cerr << "there is no signature " << name << "\n";
      return false;
    }
    std::vector<std::pair<std::string, tf::Tensor>> inputs;
    for (const auto& [key, info] : found->second.inputs()) {
      const auto tensor = tensors.find(key);
      if (tensor == tensors.end()) {
        std::cerr << name << " lacks its input " << key << "\n";
        return false;
      }
      inputs.emplace_back(info.name(), tensor->second);
    }
    std::vector<std::string> keys, fetches;
    for (const auto& [key, info] : found->second.outputs()) {
      keys.push_back(key);
      fetches.push_back(info.name());
    }
    std::vector<tf::Tensor> outputs;
    const absl::Status status = bundle.GetSession()->Run(inputs, fetches, {}, &outputs);
    if (!status.ok()) {
      std::cerr << "cannot run " << name << ": " << status.ToString() << "\n";
      return false;
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
  return true;
}

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: saved_model_loader MODEL INPUTS...\n";
    return 2;
  }
  tf::SavedModelBundle bundle;
  const absl::Status status =
      tf::LoadSavedModel(tf::SessionOptions(), tf::RunOptions(), argv[1], {"serve"}, &bundle);
  if (!status.ok()) {
    std::cerr << "cannot load: " << status.ToString() << "\n";
    return 1;
  }
  for (int file = 2; file < argc; ++file) {
    Inputs given;
    if (!ReadInputs(argv[file], &given)) {
      std::cerr << "cannot read " << argv[file] << "\n";
      return 2;
    }
    if (!RunSignatures(bundle, given)) return 1;
  }
  return 0;
}
