#include "fetch/registry.h"

#include <array>
#include <vector>

#include "fetch/answer_json.h"
#include "fetch/status.h"
#include "sys/files.h"

namespace exo::fetch {
namespace {

using nlohmann::json;

constexpr const char* kManifest = "application/vnd.docker.distribution.manifest.v2+json";
constexpr const char* kModelLayer = "application/vnd.ollama.image.model";
// Layers without which the model would answer otherwise than its owner meant, by their name.
struct NeededLayer {
  const char* type;
  std::string_view name;
};
constexpr std::array kNeededLayers = std::to_array<NeededLayer>(
    {{.type = "application/vnd.ollama.image.adapter", .name = "an adapter"},
     {.type = "application/vnd.ollama.image.projector", .name = "a projector for images"}});
constexpr std::string_view kDigest = "sha256:";

Target TargetOfRegistry(const Sources& sources, const Reference& reference,
                        const std::string& path) {
  const bool configured = reference.host.empty();
  return {
      .url = fmt::format("{}/v2/{}/{}", configured ? sources.registry : "https://" + reference.host,
                         reference.repository, path),
      .reach = configured ? Reach::kConfigured : Reach::kPublicOnly};
}

// The hexadecimal digits of "sha256:…"; empty: it is none.
std::string DigitsOf(const json& digest) {
  if (!digest.is_string()) return "";
  const auto text = digest.get<std::string>();
  const bool sound = text.starts_with(kDigest) && text.size() == kDigest.size() + 64 &&
                     text.find_first_not_of("0123456789abcdef", kDigest.size()) == text.npos;
  return sound ? text.substr(kDigest.size()) : "";
}

// Where a blob is already: here, or in a store of Ollama's.
void FindBlob(const Sources& sources, RemoteFile& file) {
  const std::string name = "/blobs/sha256-" + file.sha256;
  file.path = sources.folder + name;
  std::vector<std::string> paths = {file.path};
  for (const std::string& folder : sources.ollama_folders) paths.push_back(folder + name);
  for (const std::string& path : paths) {
    const auto there = sys::RealDisk().Look(path);
    if (!there || there->bytes != file.bytes) continue;
    file.path = path;
    file.here = true;
    return;
  }
}

Result<RemoteModel> ReadManifest(const Sources& sources, const Reference& reference,
                                 const std::string& text) {
  const ModelLayer layer = TRY(ParseRegistryManifest(text, reference.Text()));
  const size_t slash = reference.repository.find('/');
  const std::string name = reference.repository.substr(slash + 1);
  RemoteFile file{
      .name = name + ".gguf",
      .target = TargetOfRegistry(sources, reference, fmt::format("blobs/sha256:{}", layer.sha256)),
      .bytes = layer.bytes,
      .sha256 = layer.sha256};
  FindBlob(sources, file);
  return RemoteModel{.name = reference.choice == "latest" ? name : name + ":" + reference.choice,
                     .owner = reference.repository.substr(0, slash),
                     .files = {std::move(file)}};
}

Result<RemoteModel> AskStores(const Sources& sources, const Reference& reference) {
  const std::string host = reference.host.empty() ? HostOf(sources.registry) : reference.host;
  for (const std::string& folder : sources.ollama_folders) {
    const auto text = sys::ReadPlainFile(
        fmt::format("{}/manifests/{}/{}/{}", folder, host, reference.repository, reference.choice),
        1 << 20);
    if (!text) continue;
    auto model = TRY(ReadManifest(sources, reference, *text));
    if (model.files[0].here) return model;
  }
  return Fail(ErrorCode::kNotFound, "no store of Ollama has {}", reference.Text());
}

}  // namespace

Result<ModelLayer> ParseRegistryManifest(const std::string& text, const std::string& name) {
  const json manifest = ParseAnswer(text);
  const json layers = manifest.is_object() ? manifest.value("layers", json()) : json();
  const auto damaged = [&] {
    return Fail(ErrorCode::kCorrupt, "the manifest of {} is damaged", name);
  };
  if (!layers.is_array()) return damaged();
  std::vector<ModelLayer> found;
  for (const json& layer : layers) {
    const json type = layer.is_object() ? layer.value("mediaType", json()) : json();
    for (const NeededLayer& needed : kNeededLayers) {
      if (type != needed.type) continue;
      return Fail(
          ErrorCode::kUnsupported,
          "{} has {} (a layer of the kind {}), which a pull cannot use: pull a model without "
          "one",
          name, needed.name, needed.type);
    }
    if (type != kModelLayer) continue;
    const json size = layer.value("size", json());
    const std::string digits = DigitsOf(layer.value("digest", json()));
    if (digits.empty() || !size.is_number_unsigned()) return damaged();
    found.push_back({.sha256 = digits, .bytes = size.get<uint64_t>()});
  }
  if (found.size() == 1) return found[0];
  return Fail(ErrorCode::kUnsupported, "{} has {} GGUF layers, and one is what can be run", name,
              found.size());
}

Result<RemoteModel> AskRegistry(const Sources& sources, const Reference& reference,
                                const std::atomic<bool>* cancel) {
  const Target target = TargetOfRegistry(sources, reference, "manifests/" + reference.choice);
  const auto asked =
      Get(sources.web, target,
          {.headers = {fmt::format("Accept: {}", kManifest)}, .limit = 1u << 20, .cancel = cancel});
  if (!asked) {
    if (asked.error().code == ErrorCode::kDisconnected) {
      if (auto stored = AskStores(sources, reference)) return stored;
    }
    return std::unexpected(asked.error());
  }
  if (asked->status == 404 || asked->status == 401) {
    return Fail(ErrorCode::kNotFound,
                "there is no model {} in the registry {}; a repository of the Hugging Face hub is "
                "named hf:OWNER/REPO",
                reference.Text(), HostOf(target.url));
  }
  if (asked->status != 200) return StatusError(asked->status, HostOf(target.url));
  return ReadManifest(sources, reference, asked->body);
}

}  // namespace exo::fetch
