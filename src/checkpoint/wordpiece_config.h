// The parts of a tokenizer.json that only WordPiece vocabularies have.
#pragma once

#include "base/result.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/metadata.h"
#include "checkpoint/token_table.h"

namespace exo::checkpoint {

// The keys of normalization, of the longest word and of the unknown token; the texts of `table` as
// GGUF has them: the starts of words are marked, not what goes on in them. Errors: kCorrupt;
// kUnsupported (a step of the normalizer or pre-tokenizer, named).
Result<void> WriteWordPiece(const Fields& tokenizer, TokenTable& table, Metadata& metadata);

}  // namespace exo::checkpoint
