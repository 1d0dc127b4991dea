// A folder of safetensors as any stranger may offer it: the first byte says which document the rest
// is, the others are sound. It is refused, or every byte of the file that it stands for can be
// read.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "model/tensors.h"
#include "model/tokenizer.h"

namespace {

using namespace exo;

constexpr const char* kConfig =
    R"({"model_type":"llama","num_hidden_layers":1,"num_attention_heads":2,"hidden_size":32,)"
    R"("intermediate_size":32,"max_position_embeddings":64,"rms_norm_eps":1e-5,)"
    R"("quantization":{"bits":4,"group_size":32}})";
constexpr const char* kTokenizer = R"({"added_tokens":[{"id":2,"content":"<e>","special":true}],)"
                                   R"("pre_tokenizer":{"type":"ByteLevel"},)"
                                   R"("model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}})";
constexpr const char* kHead =
    R"({"model.norm.weight":{"dtype":"BF16","shape":[32],"data_offsets":[0,64]},)"
    R"("lm_head.weight":{"dtype":"U32","shape":[3,4],"data_offsets":[64,112]},)"
    R"("lm_head.scales":{"dtype":"F16","shape":[3,1],"data_offsets":[112,118]},)"
    R"("lm_head.biases":{"dtype":"F16","shape":[3,1],"data_offsets":[118,124]}})";
constexpr uint64_t kData = 1u << 16;  // of weights, all zero

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  checkpoint::Documents documents{.config = kConfig, .tokenizer = kTokenizer};
  std::string head = kHead;
  std::string* const subjects[] = {&head, &documents.tokenizer, &documents.config,
                                   &documents.tokenizer_config, &documents.generation_config};
  *subjects[data[0] % std::size(subjects)] = text;
  const uint64_t file_bytes = checkpoint::kSafetensorsPrefix + head.size() + kData;
  const checkpoint::FileReader reader = [&](uint32_t file, uint64_t offset,
                                            std::span<std::byte> out) -> Result<void> {
    if (file != 0 || offset > file_bytes || out.size() > file_bytes - offset) std::abort();
    std::memset(out.data(), 0, out.size());
    return {};
  };
  (void)checkpoint::WeightFilesOf(text);
  const auto made = checkpoint::Checkpoint::Make(
      documents, {{.name = "a.safetensors", .bytes = file_bytes, .head = head}}, reader);
  if (!made || (*made)->bytes() > (64u << 20)) return 0;
  std::vector<std::byte> gguf_bytes((*made)->bytes());
  if (!(*made)->Read(0, gguf_bytes, reader)) std::abort();
  const auto gguf = model::Gguf::Parse(gguf_bytes);
  if (!gguf) return 0;
  if (const auto config = model::ReadConfig(*gguf)) (void)model::FindTensors(*gguf, *config);
  if (const auto tokenizer = model::Tokenizer::Load(*gguf))
    (void)(*tokenizer)->Encode("ab <e> \xff", true);
  return 0;
}
