// A model's files written as one GGUF file, with its matrices as they are or as another type.
//
// Tensors are read, dequantized, quantized and written in pieces: memory does not grow with the
// model. The file depends on the source and the type alone, not on threads or the machine.
//
// What becomes of a tensor when a type is asked for: vectors, norms and the routers of experts stay
// as they are. Matrices become that type; of block types the output matrix (the embedding where it
// serves as both) becomes Q6_K, or Q8_0 when that is asked for. Rows that are no multiple of 256
// values become Q8_0 instead of a K-quant, and rows that are no multiple of 32 stay.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/result.h"
#include "sys/thread_pool.h"
#include "tensor/dtype.h"

namespace exo::store {

struct QuantizeJob {
  std::string source;                 // of a split model: any part; a folder of safetensors
  std::optional<tensor::DType> type;  // a writable one (tensor/quantize.h); none: all stay
  bool overwrite = false;             // the target may exist
  sys::ThreadPool& pool;
  std::function<void(uint64_t done, uint64_t total)> progress =
      {};  // bytes read of the source's tensors
};

struct QuantizeSummary {
  uint64_t source_bytes = 0;  // of files
  uint64_t bytes = 0;
  uint64_t values = 0;                      // weights of all tensors
  std::map<std::string, uint32_t> tensors;  // type -> how many are of it now
  uint32_t requantized = 0;                 // that had been quantized to another type before
};

// Metadata is copied as it is but for split.* and, with a type, general.file_type and
// general.quantization_version.
// Errors: kInvalid (target is the source or exists; a weight that is not finite, naming the
// tensor; of a folder: those of ReadConfig and FindTensors), kUnsupported (a tensor of a type that
// this build cannot read), those of opening and writing.
Result<QuantizeSummary> QuantizeModel(const QuantizeJob& job, const std::string& target);

}  // namespace exo::store
