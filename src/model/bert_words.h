// Normalizes text and cuts it into the words of BERT's vocabularies: at white space, around
// punctuation and CJK ideographs. Immutable, any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "model/gguf.h"

namespace exo::model {

// The name in tokenizer.ggml.pre of HuggingFace's reading; llama.cpp, which has its own, does not
// look at the name.
inline constexpr std::string_view kHuggingFaceBert = "hf-bert";

// Far beyond any word; limits above it are none.
inline constexpr uint64_t kMaxWordCharacters = ~uint32_t{0};

struct BertRules {
  bool lowercase = true;
  bool strip_accents = true;
  bool clean_text = true;            // drops control characters; all white space is alike
  bool handle_chinese_chars = true;  // an ideograph is a word
  // Hugging Face's reading: whole decompositions without nonspacing marks, and control characters
  // dropped before white space is looked for. llama.cpp's: the first character of a decomposition,
  // without marks of any kind.
  bool hugging_face = false;
  uint64_t longest_word = kMaxWordCharacters;  // longer words are unknown; Hugging Face's alone

  // Keys that are absent mean what they mean to llama.cpp.
  static BertRules Read(const Gguf& gguf);
};

// Calls `word` for each word in order. Bytes that are no UTF-8 count for nothing.
void SplitBertWords(std::string_view text, const BertRules& rules,
                    const std::function<void(std::string_view)>& word);

}  // namespace exo::model
