#include "store/pulled_model.h"

#include <algorithm>

#include "base/log.h"
#include "base/sha256.h"
#include "base/text.h"
#include "store/bytes.h"
#include "wire/messages.h"

namespace exo::store {
namespace {

constexpr std::string_view kPulledMagic = "exo-pulled-1\n";
constexpr std::string_view kPulledEnding = ".model";

std::span<const std::byte> BytesOfText(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

std::string PulledModelPath(const std::string& folder, const ModelId& id) {
  return fmt::format("{}/{}{}", folder, id.Hex(), kPulledEnding);
}

std::optional<ModelId> PulledModelId(const std::string& file_name) {
  if (!file_name.ends_with(kPulledEnding)) return std::nullopt;
  return ModelId::FromHex(file_name.substr(0, file_name.size() - kPulledEnding.size()));
}

Result<void> WritePulledModel(const std::string& folder, const PulledModel& model) {
  std::vector<std::byte> rest;
  AppendInt(rest, static_cast<uint32_t>(model.name.size()));
  Append(rest, BytesOfText(model.name));
  Append(rest, model.manifest->bytes());
  std::string bytes(kPulledMagic);
  const Hash256 sum = Sha256Of(rest);
  bytes.append(reinterpret_cast<const char*>(sum.bytes.data()), sum.bytes.size());
  bytes.append(reinterpret_cast<const char*>(rest.data()), rest.size());
  return sys::WriteFileAtomically(PulledModelPath(folder, model.manifest->id()), bytes, 0600);
}

Result<PulledModel> ReadPulledModel(const std::string& folder, const ModelId& id) {
  const std::string path = PulledModelPath(folder, id);
  const std::string bytes = TRY(sys::ReadFile(path, kMaxManifestBytes + 4096));
  ByteReader reader(BytesOfText(bytes), "the note of a pulled model");
  const auto magic = TRY(reader.Take(kPulledMagic.size()));
  const auto sum = TRY(reader.Take(Hash256::kSize));
  const auto rest = BytesOfText(bytes).subspan(kPulledMagic.size() + Hash256::kSize);
  const Hash256 right = Sha256Of(rest);
  if (!std::ranges::equal(magic, BytesOfText(kPulledMagic)) ||
      !std::ranges::equal(sum, std::as_bytes(std::span(right.bytes)))) {
    return Fail(ErrorCode::kCorrupt, "{} is damaged", path);
  }
  const auto length = TRY(reader.TakeInt<uint32_t>());
  const auto name = TRY(reader.Take(length));
  PulledModel model;
  model.name = {reinterpret_cast<const char*>(name.data()), name.size()};
  if (name.empty() || name.size() > wire::kMaxName || !IsUtf8(model.name)) {
    return Fail(ErrorCode::kCorrupt, "{} names no model", path);
  }
  const auto manifest = rest.subspan(sizeof(uint32_t) + name.size());
  model.manifest = TRY(Manifest::FromBytes({manifest.begin(), manifest.end()}));
  if (model.manifest->id() != id) {
    return Fail(ErrorCode::kCorrupt, "{} is about model {}", path, model.manifest->id().Short());
  }
  return model;
}

void RemovePulledModel(const std::string& folder, const ModelId& id) {
  const std::string path = PulledModelPath(folder, id);
  if (!sys::Exists(path)) return;
  if (auto removed = sys::RemoveFile(path); !removed)
    LOG(kWarning, "the note of a pulled model stays: {}", removed.error().message);
}

}  // namespace exo::store
