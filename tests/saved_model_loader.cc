// Runs signatures of a SavedModel with the loader that TensorFlow Serving uses and without Python.
//
//   saved_model_loader MODEL INPUTS...
//   saved_model_loader --for SECONDS THREADS MODEL INPUTS [MODEL INPUTS]...
//
// A file of INPUTS holds one tensor after another: signature, input, dtype (a number of tensorflow.DataType), rank, dimensions,
// values. Numbers are little-endian and of 32 bits, and before the bytes of a string stands how many there are. Every
// signature with a tensor in it runs; the others do not. Standard output gets for each file one line of JSON,
// {signature: {output: {"shape": [...], "values": [...]}}}, strings in hexadecimal.
//
// With --for, so many threads ask every signature of all models together, in turn and each from another one on, first for
// a fifth of the time, in which memory may still grow, and then for SECONDS. Each answer is held against the first one of
// its signature. Standard output gets {"errors": ..., "wrong": ..., "rss_kb": [...], "calls": {"MODEL signature":
// [milliseconds...]}}: resident memory after loading, after the first phase, and at the end; the times of the second.

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
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

// A signature with its inputs and outputs by their names in the graph.
struct Call {
  std::vector<std::pair<std::string, tf::Tensor>> inputs;
  std::vector<std::string> keys, fetches;
};

bool MakeCall(const tf::SavedModelBundle& bundle, const std::string& name,
              const std::map<std::string, tf::Tensor>& tensors, Call* call) {
  const auto found = bundle.GetSignatures().find(name);
  if (found == bundle.GetSignatures().end()) {
    std::cerr << "there is no signature " << name << "\n";
    return false;
  }
  for (const auto& [key, info] : found->second.inputs()) {
    const auto tensor = tensors.find(key);
    if (tensor == tensors.end()) {
      std::cerr << name << " lacks its input " << key << "\n";
      return false;
    }
    call->inputs.emplace_back(info.name(), tensor->second);
  }
  for (const auto& [key, info] : found->second.outputs()) {
    call->keys.push_back(key);
    call->fetches.push_back(info.name());
  }
  return true;
}

// Runs the signatures that there are inputs for; says whether all of them ran.
bool RunSignatures(const tf::SavedModelBundle& bundle, const Inputs& given) {
  const char* separator = "{";
  for (const auto& [name, tensors] : given) {
    Call call;
    if (!MakeCall(bundle, name, tensors, &call)) return false;
    std::vector<tf::Tensor> outputs;
    const absl::Status status = bundle.GetSession()->Run(call.inputs, call.fetches, {}, &outputs);
    if (!status.ok()) {
      std::cerr << "cannot run " << name << ": " << status.ToString() << "\n";
      return false;
    }
    std::printf("%s\"%s\": {", separator, name.c_str());
    for (size_t index = 0; index < call.keys.size(); ++index) {
      std::printf("%s\"%s\": ", index ? ", " : "", call.keys[index].c_str());
      PrintTensor(outputs[index]);
    }
    std::printf("}");
    separator = ", ";
  }
  std::printf("}\n");
  return true;
}

bool Load(const char* path, const tf::SessionOptions& options, tf::SavedModelBundle* bundle) {
  const absl::Status status = tf::LoadSavedModel(options, tf::RunOptions(), path, {"serve"}, bundle);
  if (!status.ok()) std::cerr << "cannot load: " << status.ToString() << "\n";
  return status.ok();
}

bool AreAlike(const std::vector<tf::Tensor>& found, const std::vector<tf::Tensor>& expected) {
  if (found.size() != expected.size()) return false;
  for (size_t output = 0; output < found.size(); ++output) {
    const tf::Tensor &one = found[output], &other = expected[output];
    if (one.dtype() != other.dtype() || one.shape() != other.shape()) return false;
    for (int64_t index = 0; index < one.NumElements(); ++index) {
      if (one.dtype() == tf::DT_FLOAT) {
        const float difference = std::fabs(one.flat<float>()(index) - other.flat<float>()(index));
        if (!(difference <= 1e-4f + 1e-4f * std::fabs(other.flat<float>()(index)))) return false;
      } else if (one.dtype() == tf::DT_INT32) {
        if (one.flat<int32_t>()(index) != other.flat<int32_t>()(index)) return false;
      } else if (one.flat<tf::tstring>()(index) != other.flat<tf::tstring>()(index)) {
        return false;
      }
    }
  }
  return true;
}

// Resident memory of this process in kilobytes, by Linux; 0 elsewhere.
long ResidentKilobytes() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind("VmRSS:", 0) == 0) return std::atol(line.c_str() + 6);
  }
  return 0;
}

int RunForSeconds(double seconds, int threads, char** paths, int models) {
  struct Asked {
    std::string name;
    tf::Session* session;
    Call call;
    std::vector<tf::Tensor> expected;
    std::vector<double> milliseconds;
    std::mutex mutex;
  };
  tf::SessionOptions options;
  options.config.set_intra_op_parallelism_threads(1);  // as deploy/ has it
  std::vector<std::unique_ptr<tf::SavedModelBundle>> bundles;
  std::vector<std::unique_ptr<Asked>> all;
  for (int model = 0; model < models; ++model) {
    bundles.push_back(std::make_unique<tf::SavedModelBundle>());
    Inputs given;
    if (!Load(paths[2 * model], options, bundles.back().get())) return 1;
    if (!ReadInputs(paths[2 * model + 1], &given)) {
      std::cerr << "cannot read " << paths[2 * model + 1] << "\n";
      return 2;
    }
    for (const auto& [signature, tensors] : given) {
      auto asked = std::make_unique<Asked>();
      asked->name = std::string(paths[2 * model]) + " " + signature;
      asked->session = bundles.back()->GetSession();
      if (!MakeCall(*bundles.back(), signature, tensors, &asked->call)) return 1;
      all.push_back(std::move(asked));
    }
  }
  std::vector<long> resident = {ResidentKilobytes()};
  std::atomic<long> errors{0}, wrong{0};
  for (auto& asked : all) {
    const absl::Status status = asked->session->Run(asked->call.inputs, asked->call.fetches, {}, &asked->expected);
    if (!status.ok()) {
      std::cerr << "cannot run " << asked->name << ": " << status.ToString() << "\n";
      return 1;
    }
  }
  using Clock = std::chrono::steady_clock;
  const auto run = [&](double length, bool is_kept) {
    const auto end = Clock::now() + std::chrono::duration<double>(length);
    std::vector<std::thread> running;
    for (int thread = 0; thread < threads; ++thread) {
      running.emplace_back([&, thread] {
        for (size_t turn = thread * all.size() / threads; Clock::now() < end; ++turn) {
          Asked& asked = *all[turn % all.size()];
          std::vector<tf::Tensor> outputs;
          const auto started = Clock::now();
          const absl::Status status = asked.session->Run(asked.call.inputs, asked.call.fetches, {}, &outputs);
          const std::chrono::duration<double, std::milli> taken = Clock::now() - started;
          if (!status.ok()) {
            if (errors++ == 0) std::cerr << asked.name << ": " << status.ToString() << "\n";
          } else if (!AreAlike(outputs, asked.expected)) {
            if (wrong++ == 0) std::cerr << asked.name << " answers otherwise than at first\n";
          }
          if (is_kept) {
            std::lock_guard<std::mutex> lock(asked.mutex);
            asked.milliseconds.push_back(taken.count());
          }
        }
      });
    }
    for (std::thread& thread : running) thread.join();
    resident.push_back(ResidentKilobytes());
  };
  run(seconds / 5, false);
  run(seconds, true);
  std::printf("{\"errors\": %ld, \"wrong\": %ld, \"rss_kb\": [%ld, %ld, %ld], \"calls\": {", errors.load(),
              wrong.load(), resident[0], resident[1], resident[2]);
  const char* separator = "";
  for (const auto& asked : all) {
    std::printf("%s\"%s\": [", separator, asked->name.c_str());
    for (size_t index = 0; index < asked->milliseconds.size(); ++index) {
      std::printf("%s%.3f", index ? ", " : "", asked->milliseconds[index]);
    }
    std::printf("]");
    separator = ", ";
  }
  std::printf("}}\n");
  return 0;
}

int main(int argc, char** argv) {
  if (argc >= 6 && std::string(argv[1]) == "--for") {
    return RunForSeconds(std::atof(argv[2]), std::atoi(argv[3]), argv + 4, (argc - 4) / 2);
  }
  if (argc < 3) {
    std::cerr << "usage: saved_model_loader MODEL INPUTS...\n"
                 "       saved_model_loader --for SECONDS THREADS MODEL INPUTS [MODEL INPUTS]...\n";
    return 2;
  }
  tf::SavedModelBundle bundle;
  if (!Load(argv[1], tf::SessionOptions(), &bundle)) return 1;
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
