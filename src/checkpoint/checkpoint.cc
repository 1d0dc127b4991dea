#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/check.h"
#include "checkpoint/model_config.h"
#include "checkpoint/tensor_plan.h"
#include "checkpoint/tokenizer_config.h"
#include "model/gguf_writer.h"

namespace exo::checkpoint {
namespace {

using nlohmann::json;

constexpr uint64_t kGgufAlignment = 32;  // GGUF's default

Result<json> ParseOptional(const std::string& text, std::string_view name) {
  if (text.empty()) return json::object();
  return ParseObject(text, name);
}

Result<void> WriteTokenizerKeys(const Documents& documents, const Fields& config,
                                Metadata& metadata) {
  if (documents.tokenizer.empty()) {
    return Fail(ErrorCode::kUnsupported,
                "there is no tokenizer.json (a tokenizer.model alone is not read): convert the "
                "model's tokenizer, or take a GGUF file of the model");
  }
  const json tokenizer = TRY(ParseObject(documents.tokenizer, "tokenizer.json"));
  const json beside = TRY(ParseOptional(documents.tokenizer_config, "tokenizer_config.json"));
  const json generation = TRY(ParseOptional(documents.generation_config, "generation_config.json"));
  const Fields tokenizer_fields(tokenizer, "tokenizer.json");
  const Fields beside_fields(beside, "tokenizer_config.json");
  const Fields generation_fields(generation, "generation_config.json");
  return ReadTokenizer({.tokenizer = tokenizer_fields,
                        .tokenizer_config = beside_fields,
                        .config = config,
                        .generation_config = generation_fields,
                        .chat_template = documents.chat_template},
                       metadata);
}

}  // namespace

Result<std::shared_ptr<const Checkpoint>> Checkpoint::Make(const Documents& documents,
                                                           const std::vector<WeightFile>& files,
                                                           const FileReader& reader) {
  const json config = TRY(ParseObject(documents.config, "config.json"));
  const Fields fields(config, "config.json");
  Metadata metadata;
  const ModelDescription model = TRY(ReadModelConfig(fields, metadata));
  TRY(WriteTokenizerKeys(documents, fields, metadata));
  std::vector<StoredTensor> stored;
  for (size_t i = 0; i < files.size(); ++i) {
    auto tensors = ParseSafetensors(files[i].head, files[i].bytes, static_cast<uint32_t>(i));
    if (!tensors) return Wrap(tensors.error(), files[i].name);
    std::ranges::move(*tensors, std::back_inserter(stored));
  }
  auto checkpoint = std::make_shared<Checkpoint>();
  model::GgufWriter writer(kGgufAlignment);
  metadata.WriteTo(writer);
  for (PlannedTensor& tensor : TRY(PlanTensors(model, stored, reader))) {
    // Rows that are no whole blocks show here, before anybody multiplies with them.
    (void)TRY(tensor::RowBytes(tensor.type, tensor.cols()));
    writer.Tensor(tensor.name, tensor.dims, static_cast<uint32_t>(tensor.type), tensor.bytes());
    checkpoint->tensors_.push_back({std::move(tensor)});
  }
  checkpoint->head_ = writer.Head();
  checkpoint->bytes_ = checkpoint->head_.size();
  for (Placed& placed : checkpoint->tensors_) {
    placed.begin = checkpoint->bytes_;
    const uint64_t bytes = placed.tensor.bytes();
    checkpoint->bytes_ += bytes + writer.Padding(bytes);
  }
  return checkpoint;
}

Result<void> Checkpoint::Read(uint64_t offset, std::span<std::byte> out,
                              const FileReader& reader) const {
  CHECK_LE(offset + out.size(), bytes_);
  if (offset < head_.size()) {
    const size_t part = std::min<uint64_t>(out.size(), head_.size() - offset);
    std::memcpy(out.data(), head_.data() + offset, part);
    out = out.subspan(part);
    offset += part;
  }
  auto at = std::ranges::upper_bound(tensors_, offset, {}, &Placed::begin);
  if (at != tensors_.begin()) --at;
  for (; !out.empty() && at != tensors_.end(); ++at) {
    const uint64_t skip = offset - at->begin, bytes = at->tensor.bytes();
    if (skip < bytes) {
      const size_t part = std::min<uint64_t>(out.size(), bytes - skip);
      TRY(at->tensor.Read(skip, out.first(part), reader));
      out = out.subspan(part);
      offset += part;
    }
    // Padding up to the next tensor or the end.
    const uint64_t next = at + 1 == tensors_.end() ? bytes_ : (at + 1)->begin;
    const size_t zeros = std::min<uint64_t>(out.size(), next - offset);
    std::ranges::fill(out.first(zeros), std::byte{});
    out = out.subspan(zeros);
    offset += zeros;
  }
  return {};
}

Result<std::vector<std::string>> WeightFilesOf(std::string_view index) {
  const json document = TRY(ParseObject(index, "model.safetensors.index.json"));
  const Fields fields(document, "model.safetensors.index.json");
  const json* map = fields.Find("weight_map");
  if (map == nullptr || !map->is_object())
    return Fail(ErrorCode::kCorrupt, "{} has no 'weight_map'", fields.document());
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : std::string();
    if (name.empty() || name.starts_with('.') || name.contains('/') ||
        !name.ends_with(".safetensors")) {
      return Fail(
          ErrorCode::kCorrupt,
          "{}: the tensor '{}' is said to lie in '{}', which is no safetensors file of this "
          "folder",
          fields.document(), tensor, name);
    }
    names.insert(name);
  }
  return std::vector<std::string>(names.begin(), names.end());
}

}  // namespace exo::checkpoint
