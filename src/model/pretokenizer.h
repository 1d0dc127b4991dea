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
  // Names as in tokenizer.ggml.pre (model/pretokenizer_rules.h); "": default.
  // Errors: kUnsupported, with the name and those that are known.
  static Result<std::unique_ptr<const PreTokenizer>> Create(std::string_view name);

  // The words of `text` in order; together they are the text. Thread: any.
  virtual void Split(std::string_view text,
                     const std::function<void(std::string_view)>& word) const = 0;
  // A word that is a token needs no merges.
  virtual bool whole_words() const = 0;
  // Prompts begin with BOS where the file does not say.
  virtual bool adds_bos() const = 0;
};

}  // namespace exo::model
