// A folder as Hugging Face or MLX write it (config.json, tokenizer.json, *.safetensors) as the GGUF
// file that holds the same model: its head is made up once, its tensors' bytes when they are read.
// Whoever reads it cannot tell the difference, so that identity, sharing, packing and conversion
// are those of files. No file is opened here. Immutable, any thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "checkpoint/planned_tensor.h"

namespace exo::checkpoint {

// Documents of a checkpoint; those that it does not have are empty.
struct Documents {
  std::string config;             // config.json
  std::string tokenizer;          // tokenizer.json
  std::string tokenizer_config;   // tokenizer_config.json
  std::string generation_config;  // generation_config.json
  std::string chat_template;      // chat_template.jinja
};

struct WeightFile {
  std::string name;
  uint64_t bytes = 0;
  std::string head;  // the JSON object of its head
};

class Checkpoint {
 public:
  // Errors: kCorrupt, kUnsupported (of the configuration, the tokenizer, the tensors; each says
  // which document or tensor and what), those of `reader`.
  static Result<std::shared_ptr<const Checkpoint>> Make(const Documents& documents,
                                                        const std::vector<WeightFile>& files,
                                                        const FileReader& reader);

  // Of the whole GGUF file.
  uint64_t bytes() const { return bytes_; }
  // Fills `out` with the bytes of the GGUF file from `offset`; within it. Errors: those of
  // `reader`.
  Result<void> Read(uint64_t offset, std::span<std::byte> out, const FileReader& reader) const;

 private:
  struct Placed {
    PlannedTensor tensor;
    uint64_t begin = 0;  // in the file
  };

  std::string head_;
  std::vector<Placed> tensors_;
  uint64_t bytes_ = 0;
};

// The names of the weight files that a model.safetensors.index.json lists, sorted.
// Errors: kCorrupt (no list; a name that leads out of the folder).
Result<std::vector<std::string>> WeightFilesOf(std::string_view index);

}  // namespace exo::checkpoint
