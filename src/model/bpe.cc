#include "model/tokenizer_base.h"
namespace exo::model {
Result<std::shared_ptr<const Tokenizer>> MakeBpeTokenizer(const Gguf&) {
  return Fail(ErrorCode::kUnsupported, "byte-level BPE is not written yet");
}
}  // namespace exo::model
