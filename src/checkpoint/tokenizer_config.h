// tokenizer.json and what stands beside it, as GGUF's tokenizer keys.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/metadata.h"

namespace exo::checkpoint {

// Documents of a checkpoint; all but the first may be empty objects.
struct TokenizerDocuments {
  const Fields& tokenizer;          // tokenizer.json
  const Fields& tokenizer_config;   // tokenizer_config.json
  const Fields& config;             // config.json
  const Fields& generation_config;  // generation_config.json
  std::string_view chat_template;   // chat_template.jinja; empty: tokenizer_config's
};

// Tokens, their types, merges or scores, the pre-tokenizer's name, special tokens, the template.
// Errors: kCorrupt (the vocabulary is damaged: what and where), kUnsupported (a kind of model or
// an expression of words that this build does not know).
Result<void> ReadTokenizer(const TokenizerDocuments& documents, Metadata& metadata);

// The name in tokenizer.ggml.pre of what a byte-level tokenizer.json does before merging.
// `whole_words`: its model ignores merges where a word is a token. Errors: kUnsupported with the
// steps.
Result<std::string_view> PreTokenizerNameOf(const Fields& tokenizer, bool whole_words);

}  // namespace exo::checkpoint
