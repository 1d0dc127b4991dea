// Names, answers and reading; models_scan.cc looks through folders.
#include "node/models.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/log.h"
#include "base/text.h"
#include "node/model_entry.h"

namespace exo::node {
namespace {

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

std::string BaseName(const std::string& path) {
  const auto split = store::ParseModelPath(path);
  const std::string name = split ? split->name : "";
  return ToUtf8(name.empty() ? path.substr(path.rfind('/') + 1) : name);
}

// A file that cannot be used is the caller's mistake, not damage in here.
Error AsRefusal(Error error) {
  if (error.code == ErrorCode::kCorrupt) error.code = ErrorCode::kInvalid;
  return error;
}

}  // namespace

Models::Models(net::EventLoop& loop, Jobs& jobs, std::shared_ptr<store::State> state,
               const ModelsOptions& options)
    : loop_(loop),
      jobs_(jobs),
      state_(std::move(state)),
      options_({.named_folders = options.named_folders,
                .prepared_folder = options.prepared_folder,
                .disk = options.disk,
                .times = options.times,
                .now = options.now}),
      timer_(loop),
      scan_limit_(loop),
      order_limit_(loop) {
  for (const std::string& folder : options.folders) {
    if (std::ranges::find(options_.folders, folder) == options_.folders.end())
      options_.folders.push_back(folder);
  }
}

Models::~Models() {
  *alive_ = false;
}

// ---- names ----

Models::Entry* Models::FindByName(const std::string& name) const {
  for (const auto& [unused, entry] : entries_) {
    if (entry->name == name) return entry.get();
  }
  return nullptr;
}

Models::Entry* Models::FindEntry(const std::string& name) const {
  if (Entry* entry = FindByName(name)) return entry;
  for (const auto& [path, entry] : entries_) {
    if (path == name || entry->canonical == name) return entry.get();
    if (entry->file != nullptr && entry->file->manifest().id().Hex() == name) return entry.get();
  }
  return nullptr;
}

// name, name@folder, name@grandparent.folder, ...; a number when all of those are taken.
Models::Entry& Models::Claim(const Found& found, const std::string& folder) {
  auto entry = std::make_unique<Entry>();
  entry->path = found.path;
  entry->canonical = found.canonical;
  entry->folder = folder;
  entry->order = ++claims_;
  entry->last_sign = options_.now();
  const std::string base = BaseName(found.path);
  entry->name = base;
  std::string rest = FolderOf(found.path), suffix;
  for (int number = 2; FindByName(entry->name) != nullptr;) {
    if (rest.empty()) {
      entry->name = fmt::format("{}#{}", base, number++);
      continue;
    }
    const std::string last = rest.substr(rest.rfind('/') + 1);
    suffix = suffix.empty() ? last : last + "." + suffix;  // a slash would make it a path
    rest = FolderOf(rest);
    entry->name = fmt::format("{}@{}", base, suffix);
  }
  return *(entries_[found.path] = std::move(entry));
}

Models::File Models::Find(const std::string& name) const {
  const Entry* entry = FindEntry(name);
  return entry == nullptr ? nullptr : entry->file;
}

Models::File Models::Find(const ModelId& id) const {
  for (const auto& [unused, entry] : entries_) {
    if (entry->file != nullptr && entry->file->manifest().id() == id) return entry->file;
  }
  return nullptr;
}

std::string Models::NameOf(const File& file) const {
  for (const auto& [unused, entry] : entries_) {
    if (entry->file == file) return entry->name;
  }
  return file->name();
}

std::vector<std::string> Models::FurtherNamesOf(const File& file) const {
  std::vector<std::string> names;
  for (const auto& [unused, entry] : entries_) {
    if (entry->file == nullptr || entry->file == file) continue;
    if (entry->file->manifest().id() == file->manifest().id()) names.push_back(entry->name);
  }
  return names;
}

std::vector<Models::File> Models::Each(bool adapters) const {
  std::map<ModelId, const Entry*> first;
  for (const auto& [unused, entry] : entries_) {
    if (entry->file == nullptr) continue;
    if ((entry->file->manifest().adapter() != nullptr) != adapters) continue;
    const Entry*& place = first[entry->file->manifest().id()];
    if (place == nullptr || entry->order < place->order) place = entry.get();
  }
  std::vector<File> all;
  for (const auto& [unused, entry] : first) all.push_back(entry->file);
  return all;
}

std::vector<std::string> Models::Broken() const {
  std::vector<std::string> broken;
  for (const auto& [path, entry] : entries_) {
    if (entry->state == Entry::State::kFailed)
      broken.push_back(fmt::format("{}: {}", path, entry->error.message));
  }
  for (const auto& [path, kept] : paths_) {
    if (kept && !entries_.contains(path) && !scanning_.contains(path))
      broken.push_back(fmt::format("{}: the file is gone", path));
  }
  return broken;
}

// ---- answers ----

void Models::WaitFor(Entry& entry, Opened done) {
  switch (entry.state) {
    case Entry::State::kReady:
      return done(entry.file);
    case Entry::State::kFailed:
      return done(std::unexpected(entry.error));
    default:
      entry.waiting.push_back(std::move(done));
  }
}

void Models::Answer(Entry& entry, const Result<File>& result) {
  for (Opened& done : std::exchange(entry.waiting, {})) done(result);
}

void Models::Await(const std::string& name, Opened done) {
  if (Entry* entry = FindEntry(name)) return WaitFor(*entry, std::move(done));
  Rescan([this, name, done = std::move(done)] {
    if (Entry* entry = FindEntry(name)) return WaitFor(*entry, done);
    std::string silent;
    for (const auto& [source, unused] : scanning_)
      silent += fmt::format("; {} does not answer", source);
    done(Fail(ErrorCode::kNotFound, "there is no model '{}' here{}", name, silent));
  });
}

// Like a scan of this one file; an error when its drive does not answer.
void Models::LookAt(const std::string& path, Looked done) {
  const auto once = std::make_shared<Looked>(std::move(done));
  looking_.push_back({path, options_.now(), once});
  ScanPath(path, [this, once](const Found& found) {
    std::erase_if(looking_, [&](const Looking& one) { return one.done == once; });
    if (*once != nullptr) std::exchange(*once, nullptr)(found);
  });
}

void Models::Refresh(const ModelId& id, std::function<void(Result<void>)> done) {
  std::vector<std::string> paths;
  for (const auto& [path, entry] : entries_) {
    if (entry->file != nullptr && entry->file->manifest().id() == id) paths.push_back(path);
  }
  struct Pending {
    size_t files = 0;
    Result<void> result;
  };
  const auto pending = std::make_shared<Pending>(paths.size());
  const auto one_done = [pending, done](const Result<File>& file) {
    if (!file) pending->result = std::unexpected(file.error());
    if (--pending->files == 0) done(pending->result);
  };
  if (paths.empty()) return done({});
  for (const std::string& path : paths) {
    LookAt(path, [this, path, one_done](const Result<Found>& found) {
      if (!found) return one_done(std::unexpected(found.error()));
      const auto known = entries_.find(path);
      const std::string folder = known == entries_.end() ? "" : known->second->folder;
      Entry* entry = MergeOne(folder, *found, false);
      if (entry != nullptr) return WaitFor(*entry, one_done);
      one_done(std::unexpected(AsRefusal(
          found->stamp ? Error{ErrorCode::kNotFound, path + " is gone"} : found->stamp.error())));
    });
  }
}

void Models::Open(std::string path, Opened done) {
  path = std::filesystem::absolute(path).string();
  LookAt(path, [this, answer = std::move(done)](const Result<Found>& found) {
    if (!found) return answer(std::unexpected(found.error()));
    if (!found->stamp) return answer(std::unexpected(AsRefusal(found->stamp.error())));
    Entry* entry = MergeOne({}, *found, true);
    paths_.try_emplace(entry->path, false);
    WaitFor(*entry, [this, path = entry->path, answer](Result<File> file) {
      if (!file && !paths_[path]) {
        paths_.erase(path);
        if (Entry* failed = FindEntry(path); failed != nullptr && failed->folder.empty())
          loop_.Post([this, alive = alive_, path] {
            if (*alive) Drop(path);
          });
      }
      answer(std::move(file));
    });
  });
}

void Models::Add(std::string path, Opened done) {
  Open(std::move(path), [this, done = std::move(done)](Result<File> file) {
    if (!file) return done(std::move(file));
    if (auto is_model = (*file)->manifest().CheckIsModel(); !is_model)
      return done(Wrap(is_model.error(), (*file)->path()));
    Remember(*file, [file, done] { done(file); });
  });
}

void Models::Remember(const File& file, std::function<void()> done) {
  const std::string path = file->path();
  const auto named = paths_.find(path);
  if (named == paths_.end()) return done();  // of a folder, which is searched anyway
  named->second = true;
  const bool begun = jobs_.Run(
      Jobs::Class::kIo, {},
      [state = state_, path](const std::atomic<bool>&) { return state->RegisterModel(path); },
      [path, done](Result<void> saved) {
        if (!saved)
          LOG(kWarning, "{} is not remembered after a restart: {}", path, saved.error().message);
        done();
      });
  if (begun) return;
  LOG(kWarning, "{} is not remembered after a restart: files are busy", path);
  done();
}

void Models::Remove(std::string name, std::function<void(Result<void>)> done) {
  const Entry* entry = FindEntry(name);
  const auto found = std::ranges::find_if(paths_, [&](const auto& named) {
    return named.second &&
           (named.first == name || (entry != nullptr && entry->path == named.first) ||
            (entry == nullptr && BaseName(named.first) == name));
  });
  if (found == paths_.end() || (entry != nullptr && !entry->folder.empty())) {
    if (entry == nullptr) return done(Fail(ErrorCode::kNotFound, "no model '{}' was added", name));
    return done(Fail(ErrorCode::kInvalid,
                     "{} lies in a model folder, which is searched for models: delete or move the "
                     "file {}",
                     entry->name, entry->path));
  }
  const std::string path = found->first;
  const bool begun = jobs_.Run(
      Jobs::Class::kIo, {},
      [state = state_, path, prepared = options_.prepared_folder](const std::atomic<bool>&) {
        const std::string packed = store::PreparedPath(prepared, path);
        if (sys::Exists(packed)) (void)sys::RemoveFile(packed);
        return state->ForgetModel(path);
      },
      [this, path, done](Result<void> forgotten) {
        if (!forgotten) return done(std::move(forgotten));
        paths_.erase(path);
        Drop(path);
        done({});
      });
  if (!begun) done(Fail(ErrorCode::kOverloaded, "too much is going on with files"));
}

void Models::Drop(const std::string& path) {
  auto gone = entries_.extract(path);
  if (gone.empty()) return;
  Answer(*gone.mapped(), Fail(ErrorCode::kNotFound, "{} is gone", path));
  if (gone.mapped()->file != nullptr) changed_();
}

// ---- reading ----

void Models::Read(Entry& entry) {
  entry.state = Entry::State::kReading;
  entry.file = nullptr;
  entry.progress = std::make_shared<std::atomic<uint64_t>>(0);
  entry.progress_seen = 0;
  entry.last_sign = options_.now();
  const bool begun = jobs_.Run(
      Jobs::Class::kIo, FolderOf(entry.canonical),
      [path = entry.path, state = state_, progress = entry.progress, disk = options_.disk,
       prepared = options_.prepared_folder](const std::atomic<bool>& cancel) {
        store::OpenOptions options{.disk = disk, .state = state.get(), .prepared_folder = prepared};
        options.adapters = true;
        options.manifest = {
            .check = CheckRunnable, .cancel = &cancel, .hashed_bytes = progress.get()};
        return store::ModelFile::Open(path, options);
      },
      [this, path = entry.path, reading = entry.progress](Result<File> opened) {
        OnRead(path, reading.get(), std::move(opened));
      });
  if (!begun) {
    entry.state = Entry::State::kFailed;
    entry.seen = {};  // the next scan tries again
    entry.error = {ErrorCode::kOverloaded, "too many files are being read"};
    Answer(entry, std::unexpected(entry.error));
  }
}

// `reading` tells an earlier read of the same path, whose result is worth nothing, from the last.
void Models::OnRead(const std::string& path, const void* reading, Result<File> opened) {
  const auto found = entries_.find(path);
  if (found == entries_.end() || found->second->progress.get() != reading) return;
  Entry& entry = *found->second;
  if (opened) {
    entry.state = Entry::State::kReady;
    entry.file = *opened;
    LOG(kInfo, "{} {} is {} of {}",
        entry.file->manifest().adapter() == nullptr ? "model" : "adapter", entry.name,
        entry.file->manifest().id().Short(), path);
    changed_();
    return Answer(entry, opened);
  }
  entry.state = Entry::State::kFailed;
  entry.error = AsRefusal(opened.error());
  if (!entry.folder.empty() && entry.error.code != ErrorCode::kCancelled)
    LOG(kWarning, "leaving out a model: {}", entry.error.message);
  Answer(entry, std::unexpected(entry.error));
}

// Whoever waits for a file that gives no sign is told; the file is still taken in should it answer.
void Models::CheckSilence() {
  const Time now = options_.now();
  for (const Looking& one : std::vector(looking_)) {
    if (*one.done == nullptr || now - one.since < options_.times.silence) continue;
    std::exchange(*one.done, nullptr)(
        Fail(ErrorCode::kIo, "{} does not answer: is its drive connected?", one.path));
  }
  std::vector<std::string> silent;
  for (auto& [path, entry] : entries_) {
    if (entry->waiting.empty()) continue;
    if (entry->state == Entry::State::kReading && entry->progress->load() != entry->progress_seen) {
      entry->progress_seen = entry->progress->load();
      entry->last_sign = now;
    }
    const bool settling = entry->state == Entry::State::kSettling;
    const Time since = settling ? entry->settling_since : entry->last_sign;
    if (now - since >= options_.times.silence) silent.push_back(path);
  }
  for (const std::string& path : silent) {
    const auto found = entries_.find(path);
    if (found == entries_.end()) continue;
    const bool settling = found->second->state == Entry::State::kSettling;
    Answer(*found->second,
           Fail(settling ? ErrorCode::kInvalid : ErrorCode::kIo, "{} {}", path,
                settling ? "is still being written" : "does not answer: is its drive connected?"));
  }
}

}  // namespace exo::node
