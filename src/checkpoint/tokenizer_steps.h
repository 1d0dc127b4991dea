// What a tokenizer.json does with a text before merging, one step after the other.
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "checkpoint/json_fields.h"

namespace exo::checkpoint {

// Steps under "normalizer" or "pre_tokenizer", those of sequences one by one; none when the key is
// absent. Views: the document outlives them. Errors: kCorrupt (a step that is no object).
Result<std::vector<Fields>> StepsOf(const Fields& tokenizer, std::string_view key);

// What GGUF's SentencePiece keys say of a tokenizer.json: that spaces become marks, and whether one
// is put in front. Errors: kUnsupported, with the first step that does anything else.
Result<void> CheckSentencePieceSteps(const Fields& tokenizer);

// Byte-level vocabularies take texts as they are; NFC, which is left out, changes few of them.
// Errors: kUnsupported, with the first step that does anything else.
Result<void> CheckByteLevelNormalizer(const Fields& tokenizer);

}  // namespace exo::checkpoint
