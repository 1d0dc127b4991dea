#include "fetch/hub.h"

#include <algorithm>

#include "fetch/answer_json.h"
#include "fetch/status.h"
#include "sys/files.h"
#include "sys/links.h"

namespace exo::fetch {
namespace {

using nlohmann::json;

constexpr size_t kMaxCachedFiles = 10000;  // of a snapshot that is looked through

std::string RevisionOf(const Reference& reference) {
  return reference.revision.empty() ? "main" : reference.revision;
}

// A file's name as a part of a URL: IsSafeFileName leaves little to be escaped.
std::string EscapedPath(std::string_view path) {
  constexpr std::string_view kPlain = "-_.~/+,=@!()'";
  std::string text;
  for (const char c : path) {
    const bool letter = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (letter || kPlain.find(c) != kPlain.npos) {
      text += c;
    } else {
      text += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return text;
}

bool IsSha256(std::string_view text) {
  return text.size() == 64 && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

Target TargetOfHub(const Sources& sources, const std::string& path) {
  return {.url = sources.hub + path, .token = sources.hub_token, .reach = Reach::kConfigured};
}

std::unexpected<Error> HubError(const Sources& sources, const Reference& reference,
                                const Response& response) {
  const std::string page = fmt::format("{}/{}", sources.hub, reference.repository);
  const std::string code = response.Header("x-error-code");
  const bool refused = response.status == 401 || response.status == 403;
  if (refused && code == "GatedRepo") {
    return Fail(ErrorCode::kInvalid,
                "{} is gated: accept its license at {} and give exo up a token of your account in "
                "HF_TOKEN",
                reference.repository, page);
  }
  if (code == "RevisionNotFound") {
    return Fail(ErrorCode::kNotFound, "{} has no revision {}", reference.repository,
                RevisionOf(reference));
  }
  if (refused && !sources.hub_token.empty() && response.status == 401 && code.empty())
    return Fail(ErrorCode::kInvalid, "{} does not accept the token in HF_TOKEN", sources.hub);
  // The hub does not tell strangers which private repositories there are.
  if (refused || response.status == 404) {
    return Fail(ErrorCode::kNotFound,
                "there is no repository {} on {}, or it is private{}: look at its name",
                reference.repository, HostOf(sources.hub),
                sources.hub_token.empty() ? " and exo up has no HF_TOKEN" : "");
  }
  return StatusError(response.status, HostOf(sources.hub));
}

RemoteModel ModelOf(const Sources& sources, const Reference& reference,
                    const std::vector<ListedFile>& chosen, const std::string& commit) {
  const size_t slash = reference.repository.find('/');
  const std::string stem = StemOf(chosen[0].name);
  RemoteModel model{.name = stem.empty() ? reference.repository.substr(slash + 1) : stem,
                    .owner = reference.repository.substr(0, slash),
                    .files = {},
                    .revision = commit};
  const std::string folder = HubFolderOf(sources, reference.repository);
  for (const ListedFile& file : chosen) {
    const std::string blob = fmt::format("{}/blobs/{}", folder, file.sha256);
    const auto there = sys::RealDisk().Look(blob);
    model.files.push_back(
        {.name = file.name,
         .target = TargetOfHub(sources, fmt::format("/{}/resolve/{}/{}", reference.repository,
                                                    commit, EscapedPath(file.name))),
         .bytes = file.bytes,
         .sha256 = file.sha256,
         .path = blob,
         .here = there && there->bytes == file.bytes});
  }
  return model;
}

// Files below a snapshot of the cache, with the hashes that their links tell.
void ListSnapshot(const std::string& folder, const std::string& below,
                  std::vector<ListedFile>& files) {
  for (const std::string& name : sys::ListFolder(folder + "/" + below)) {
    if (files.size() >= kMaxCachedFiles) return;
    const std::string path = below.empty() ? name : below + "/" + name;
    const auto stamp = sys::RealDisk().Look(folder + "/" + path);
    if (!stamp) {
      if (sys::LinkTarget(folder + "/" + path).empty()) ListSnapshot(folder, path, files);
      continue;
    }
    const std::string target = sys::LinkTarget(folder + "/" + path);
    const std::string hash = target.substr(target.rfind('/') + 1);
    files.push_back({.name = path, .bytes = stamp->bytes, .sha256 = IsSha256(hash) ? hash : ""});
  }
}

// What another pull, or another program, brought.
Result<RemoteModel> AskHubCache(const Sources& sources, const Reference& reference) {
  const std::string folder = HubFolderOf(sources, reference.repository);
  const auto known = sys::ReadPlainFile(folder + "/refs/" + RevisionOf(reference), 4096);
  const std::string commit = known.value_or(RevisionOf(reference));
  if (!IsSafeFileName(commit)) return Fail(ErrorCode::kNotFound, "no snapshot");
  std::vector<ListedFile> files;
  ListSnapshot(folder + "/snapshots/" + commit, "", files);
  const auto chosen = TRY(ChooseFiles(std::move(files), reference.choice));
  RemoteModel model = ModelOf(sources, reference, chosen, commit);
  for (RemoteFile& file : model.files) {
    file.path = fmt::format("{}/snapshots/{}/{}", folder, commit, file.name);
    file.here = true;
  }
  return model;
}

// Metadata of gated repositories is public, and their files are not.
Result<void> CheckAccess(const Sources& sources, const Reference& reference, const RemoteFile& file,
                         const std::atomic<bool>* cancel) {
  const Response response = TRY(
      Get(sources.web, file.target, {.begin = 0, .end = 4, .limit = 64u << 10, .cancel = cancel}));
  if (response.status / 100 != 2) return HubError(sources, reference, response);
  if (response.body.substr(0, 4) == "GGUF") return {};
  return Fail(ErrorCode::kInvalid, "{} of {} is no GGUF file", file.name, reference.repository);
}

}  // namespace

// {"sha": COMMIT, "siblings": [{"rfilename", "size", "lfs": {"sha256", "size"}}]}
Result<HubListing> ParseHubListing(const std::string& body, const std::string& host) {
  const json answer = ParseAnswer(body);
  const json sha = answer.is_object() ? answer.value("sha", json()) : json();
  if (!sha.is_string() || !IsSafeFileName(sha.get<std::string>()))
    return Fail(ErrorCode::kCorrupt, "{} does not answer like the hub: no commit", host);
  const json siblings = answer.value("siblings", json());
  if (!siblings.is_array())
    return Fail(ErrorCode::kCorrupt, "{} does not answer like the hub: no list of files", host);
  HubListing listing{.commit = sha, .files = {}};
  for (const json& one : siblings) {
    if (!one.is_object() || !one.value("rfilename", json()).is_string()) continue;
    ListedFile file{.name = one["rfilename"].get<std::string>()};
    const json size = one.value("size", json()), lfs = one.value("lfs", json());
    if (size.is_number_unsigned()) file.bytes = size.get<uint64_t>();
    const json hash = lfs.is_object() ? lfs.value("sha256", json()) : json();
    if (hash.is_string() && IsSha256(hash.get<std::string>())) file.sha256 = hash;
    listing.files.push_back(std::move(file));
  }
  return listing;
}

std::string HubFolderOf(const Sources& sources, const std::string& repository) {
  const size_t slash = repository.find('/');
  return fmt::format("{}/models--{}--{}", sources.hub_folder, repository.substr(0, slash),
                     repository.substr(slash + 1));
}

Result<RemoteModel> AskHub(const Sources& sources, const Reference& reference,
                           const std::atomic<bool>* cancel) {
  const std::string path = fmt::format("/api/models/{}/revision/{}?blobs=true",
                                       reference.repository, EscapedPath(RevisionOf(reference)));
  const auto asked = Get(sources.web, TargetOfHub(sources, path), {.cancel = cancel});
  if (!asked) {
    if (asked.error().code == ErrorCode::kDisconnected) {
      if (auto cached = AskHubCache(sources, reference)) return cached;
    }
    return std::unexpected(asked.error());
  }
  if (asked->status != 200) return HubError(sources, reference, *asked);
  const std::string host = HostOf(sources.hub);
  const HubListing listing = TRY(ParseHubListing(asked->body, host));
  const auto chosen = TRY(ChooseFiles(listing.files, reference.choice));
  for (const ListedFile& file : chosen) {
    if (file.sha256.empty() || file.bytes == 0) {
      return Fail(ErrorCode::kCorrupt, "{} does not tell the size and SHA-256 of {}", host,
                  file.name);
    }
  }
  RemoteModel model = ModelOf(sources, reference, chosen, listing.commit);
  for (const auto& [quantization, bytes] : QuantizationsOf(listing.files))
    model.alternatives.push_back({quantization, bytes});
  for (const RemoteFile& file : model.files) {
    if (file.here) continue;
    TRY(CheckAccess(sources, reference, file, cancel));
    break;
  }
  return model;
}

Result<std::vector<std::string>> PlaceInHubCache(const Sources& sources, const Reference& reference,
                                                 const RemoteModel& model) {
  const std::string folder = HubFolderOf(sources, reference.repository);
  const std::string snapshot = fmt::format("{}/snapshots/{}", folder, model.revision);
  std::vector<std::string> paths;
  for (const RemoteFile& file : model.files) {
    paths.push_back(snapshot + "/" + file.name);
    const std::string& link = paths.back();
    if (file.path == link) continue;  // of the cache's own
    std::string up = "../../";
    for (const char c : file.name) up += c == '/' ? "../" : "";
    TRY(sys::MakeFolders(link.substr(0, link.rfind('/')), 0755));
    TRY(sys::MakeLink(fmt::format("{}blobs/{}", up, file.sha256), link));
  }
  const std::string named = folder + "/refs/" + RevisionOf(reference);
  TRY(sys::MakeFolders(named.substr(0, named.rfind('/')), 0755));
  TRY(sys::WriteFileAtomically(named, model.revision, 0644));
  return paths;
}

}  // namespace exo::fetch
