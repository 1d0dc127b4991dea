// A GGUF file as any stranger may offer it: parsing, configuration, tensors and tokenizer either
// refuse it or leave something that can be used.
#include <cstdint>
#include <cstdlib>

#include "model/tensors.h"
#include "model/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace exo::model;
  const auto gguf = Gguf::Parse(std::as_bytes(std::span(data, size)));
  if (!gguf) return 0;
  for (const GgufTensor& tensor : gguf->tensors()) {
    if (tensor.offset > size || tensor.bytes > size - tensor.offset) std::abort();
  }
  if (const auto config = ReadConfig(*gguf)) {
    if (config->heads % config->kv_heads != 0 || config->rotary_dim > config->head_dim)
      std::abort();
    (void)FindTensors(*gguf, *config);
  }
  if (const auto tokenizer = Tokenizer::Load(*gguf)) {
    const auto ids = (*tokenizer)->Encode("Hello, w\xc3\xb6rld <s> 123\n\xff", true);
    for (const exo::TokenId id : ids) {
      if (id < 0 || static_cast<size_t>(id) >= (*tokenizer)->vocab_size()) std::abort();
    }
    (void)(*tokenizer)->Decode(ids, true);
  }
  (void)Gguf::JoinSplits({*gguf, *gguf});
  return 0;
}
