// Cuts text into the words that byte-level BPE works on, by the regular expressions of the model's
// family. PCRE2 with its JIT compiler; bytes that are no UTF-8 become words of their own.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "base/result.h"

namespace exo::model {

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Names as in tokenizer.ggml.pre: llama-bpe, qwen2, gpt-2, default, and their aliases.
  // Errors: kUnsupported, naming it.
  static Result<std::unique_ptr<const PreTokenizer>> Create(std::string_view name);

  // The words of `text` in order; together they are the text. Thread: any.
  virtual void Split(std::string_view text,
                     const std::function<void(std::string_view)>& word) const = 0;
};

}  // namespace exo::model
