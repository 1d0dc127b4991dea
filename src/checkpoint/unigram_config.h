// The parts of a tokenizer.json that only unigram vocabularies have.
#pragma once

#include "base/result.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/metadata.h"
#include "checkpoint/token_table.h"

namespace exo::checkpoint {

// Adds the pieces, a list of [text, log probability], of `model`. Errors: kCorrupt.
Result<void> ReadPieces(const Fields& model, bool byte_fallback, TokenTable& table);

// The keys of normalization and of the unknown token. `prepends_space`: to each text.
// Errors: kCorrupt; kUnsupported (a step of the normalizer or pre-tokenizer, named).
Result<void> WriteUnigram(const Fields& tokenizer, bool prepends_space, TokenTable& table,
                          Metadata& metadata);

}  // namespace exo::checkpoint
