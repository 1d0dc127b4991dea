#include "fetch/pull.h"

#include <algorithm>
#include <set>

#include "base/sha256.h"
#include "fetch/hub.h"
#include "fetch/registry.h"
#include "fetch/status.h"
#include "sys/files.h"
#include "sys/links.h"

namespace exo::fetch {
namespace {

constexpr std::string_view kMagic = "GGUF";

std::string ParentOf(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

// The file behind an address: its length and what tells one state of it from another.
Result<RemoteModel> AskUrl(const Sources& sources, const Reference& reference,
                           const std::atomic<bool>* cancel) {
  const Target target{.url = reference.repository};
  const std::string host = HostOf(target.url);
  const auto asked = Get(sources.web, target,
                         {.begin = 0, .end = kMagic.size(), .limit = 64u << 10, .cancel = cancel});
  if (!asked && asked.error().code == ErrorCode::kCorrupt)
    return Fail(ErrorCode::kUnsupported, "{} does not send parts of files", host);
  if (!asked) return std::unexpected(asked.error());
  if (asked->status / 100 != 2) return StatusError(asked->status, host);
  const auto range = ParseContentRange(asked->Header("content-range"));
  if (asked->status != 206 || !range)
    return Fail(ErrorCode::kUnsupported, "{} does not send parts of files", host);
  if (asked->body != kMagic)
    return Fail(ErrorCode::kInvalid, "{} is no GGUF file", reference.repository);
  RemoteModel model{.name = StemOf(reference.repository), .owner = host, .files = {}};
  const std::string state =
      fmt::format("{}\n{}\n{}", reference.repository, range->total, asked->Header("etag"));
  const std::string path = fmt::format("{}/blobs/url-{}", sources.folder,
                                       Sha256Of(std::as_bytes(std::span(state))).Hex());
  const auto there = sys::RealDisk().Look(path);
  model.files.push_back({.name = model.name + ".gguf",
                         .target = target,
                         .bytes = range->total,
                         .path = path,
                         .here = there && there->bytes == range->total});
  return model;
}

// Of each part, below the folder of models.
std::vector<std::string> LinkNames(const std::string& folder, const std::string& name,
                                   size_t parts) {
  if (parts == 1) return {fmt::format("{}/{}.gguf", folder, name)};
  std::vector<std::string> links;
  for (size_t part = 1; part <= parts; ++part)
    links.push_back(fmt::format("{}/{}-{:05}-of-{:05}.gguf", folder, name, part, parts));
  return links;
}

// The first names that nobody has: NAME, NAME@OWNER, NAME@OWNER.2 and so on.
std::vector<std::string> LinksFor(const Sources& sources, const RemoteModel& model,
                                  const std::string& target,
                                  const std::vector<std::string>& earlier) {
  std::string name = model.name;
  for (int number = 1;; ++number) {
    auto links = LinkNames(sources.folder, name, model.files.size());
    const bool ours = std::ranges::find(earlier, links[0]) != earlier.end() ||
                      sys::CanonicalPath(links[0]) == sys::CanonicalPath(target);
    if (ours || !sys::NameExists(links[0])) return links;
    name = fmt::format("{}@{}{}", model.name, model.owner,
                       number == 1 ? "" : fmt::format(".{}", number));
  }
}

}  // namespace

Result<RemoteModel> Resolve(const Sources& sources, const Reference& reference,
                            const std::atomic<bool>* cancel) {
  switch (reference.kind) {
    case SourceKind::kHub:
      return AskHub(sources, reference, cancel);
    case SourceKind::kRegistry:
      return AskRegistry(sources, reference, cancel);
    case SourceKind::kUrl:
      break;
  }
  return AskUrl(sources, reference, cancel);
}

Hash256 RemoteModel::content() const {
  Sha256 sum;
  for (const RemoteFile& file : files) {
    if (file.sha256.empty()) return {};
    sum.Update(std::as_bytes(std::span(file.sha256)));
  }
  return sum.Finish();
}

Result<PulledFile> Fetch(const Sources& sources, const Reference& reference,
                         const RemoteModel& model, const FetchOptions& options) {
  PulledFile pulled{.content = model.content()};
  std::vector<std::string> targets;
  for (const RemoteFile& file : model.files) {
    targets.push_back(file.path);
    if (file.here) {
      options.progress(file, {.completed = file.bytes, .total = file.bytes});
      continue;
    }
    TRY(sys::MakeFolders(ParentOf(file.path), 0755));
    TRY(Download({.web = sources.web,
                  .target = file.target,
                  .bytes = file.bytes,
                  .sha256 = file.sha256,
                  .prefix = file.prefix,
                  .path = file.path,
                  .connections = options.connections,
                  .progress = [&](const Progress& now) { options.progress(file, now); },
                  .cancel = options.cancel}));
    pulled.owned.push_back(file.path);
  }
  if (reference.kind == SourceKind::kHub) {
    targets = TRY(PlaceInHubCache(sources, reference, model));
    if (!pulled.owned.empty())
      pulled.owned.insert(pulled.owned.end(), targets.begin(), targets.end());
  }
  TRY(sys::MakeFolders(sources.folder));
  pulled.links = LinksFor(sources, model, targets[0], options.links);
  for (size_t i = 0; i < targets.size(); ++i) TRY(sys::MakeLink(targets[i], pulled.links[i]));
  return pulled;
}

namespace {

// Where the links of the folder lead to.
std::set<std::string> LinkedFiles(const std::string& folder) {
  std::set<std::string> files;
  for (const std::string& name : sys::ListFolder(folder)) {
    const std::string path = folder + "/" + name;
    if (!sys::LinkTarget(path).empty()) files.insert(sys::CanonicalPath(path));
  }
  return files;
}

}  // namespace

Result<Forgotten> Forget(const Sources& sources, const PulledFile& pulled) {
  if (pulled.links.empty() || sys::LinkTarget(pulled.links[0]).empty())
    return Fail(ErrorCode::kNotFound, "the links that a pull has made are gone");
  std::set<std::string> lie;  // the files that the links have led to
  for (const std::string& link : pulled.links) {
    if (sys::LinkTarget(link).empty()) continue;
    lie.insert(sys::CanonicalPath(link));
    TRY(sys::RemoveFile(link));
  }
  Forgotten forgotten;
  const std::set<std::string> linked = LinkedFiles(sources.folder);
  std::vector<std::string> unused;  // found before any goes: a link without its file leads nowhere
  for (const std::string& path : pulled.owned) {
    const std::string file = sys::CanonicalPath(path);
    if (!linked.contains(file)) unused.push_back(path);
    lie.erase(file);
  }
  for (const std::string& path : unused) {
    if (!sys::NameExists(path)) continue;
    const auto stamp = sys::RealDisk().Look(path);
    if (sys::LinkTarget(path).empty() && stamp) forgotten.bytes += stamp->bytes;
    TRY(sys::RemoveFile(path));
  }
  for (const std::string& path : pulled.owned)
    if (sys::LinkTarget(path).empty() && linked.contains(sys::CanonicalPath(path)))
      forgotten.in_use.push_back(path);
  for (const std::string& file : lie)
    if (sys::Exists(file)) forgotten.brought_by_others.push_back(file);
  return forgotten;
}

}  // namespace exo::fetch
