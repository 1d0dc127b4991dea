// Looking through the folders: what came, what went, what changed.
#include <algorithm>
#include <chrono>
#include <set>

#include "base/log.h"
#include "node/model_entry.h"
#include "node/models.h"

namespace exo::node {
namespace {

// Only the first part of a split model stands for it.
bool IsLaterPart(const std::string& path) {
  const auto split = store::ParseModelPath(path);
  return split && split->paths.size() > 1 && split->paths[0] != path;
}

// All parts of a model as one stamp.
Result<sys::FileStamp> StampOf(const sys::Disk& disk, const std::string& path) {
  sys::FileStamp sum;
  for (const std::string& part : TRY(store::FindParts(disk, path)).paths) {
    const sys::FileStamp one = TRY(store::LookAtModel(disk, part));
    sum.bytes += one.bytes;
    sum.modified_ns = std::max(sum.modified_ns, one.modified_ns);
    sum.changed_ns = std::max(sum.changed_ns, one.changed_ns);
    sum.inode = sum.inode * 31 + one.inode;
  }
  return sum;
}

int64_t WallNanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// On a job's thread: uses nothing but what it is given.
struct Looker {
  const sys::Disk& disk;
  Time settle;

  auto operator()(const std::string& path, auto make) const {
    auto stamp = StampOf(disk, path);
    const int64_t age = stamp ? WallNanoseconds() - stamp->modified_ns : 0;
    return make(path, disk.Canonical(path), std::move(stamp),
                age >= std::chrono::duration_cast<std::chrono::nanoseconds>(settle).count());
  }
};

}  // namespace

void Models::Start(std::function<void()> changed) {
  changed_ = std::move(changed);
  next_first_ = 0;
  order_limit_.Start(options_.times.settle, [this] {
    next_first_ = options_.folders.size();
    for (auto& [index, listing] : std::exchange(first_listings_, {}))
      Merge(options_.folders[index], listing);
  });
  LoadRegistered();
  OnTimer();
}

void Models::OnTimer() {
  Rescan();
  CheckSilence();
  timer_.Start(options_.times.rescan, [this] { OnTimer(); });
}

void Models::LoadRegistered() {
  scanning_["the list of added models"] = options_.now();
  const bool begun = jobs_.Run(
      Jobs::Class::kIo, {},
      [state = state_](const std::atomic<bool>&) { return state->RegisteredModels(); },
      [this](Result<std::vector<std::string>> paths) {
        if (!paths)
          LOG(kError, "the models that were added are unknown: {}", paths.error().message);
        for (const std::string& path : paths.value_or(std::vector<std::string>{})) {
          paths_[path] = true;
          ScanPath(path, [this](const Found& found) { MergeOne({}, found, false); });
        }
        EndScan("the list of added models");
      });
  if (!begun) {
    LOG(kError, "the models that were added are unknown: files are busy");
    EndScan("the list of added models");
  }
}

void Models::Rescan(std::function<void()> done) {
  for (const std::string& folder : options_.folders) ScanFolder(folder);
  for (const auto& [path, unused] : std::map(paths_)) {
    if (!scanning_.contains(path))
      ScanPath(path, [this](const Found& found) { MergeOne({}, found, false); });
  }
  if (!done) return;
  after_scan_.push_back(std::move(done));
  if (!scan_limit_.running()) scan_limit_.Start(options_.times.listing, [this] { RunAfterScan(); });
  EndScan({});
}

void Models::RunAfterScan() {
  scan_limit_.Cancel();
  for (auto& done : std::exchange(after_scan_, {})) {
    loop_.Post([alive = alive_, done = std::move(done)] {
      if (*alive) done();
    });
  }
}

// What has been silent for long is not waited for.
void Models::EndScan(const std::string& source) {
  scanning_.erase(source);
  const Time early = options_.now() - options_.times.listing;
  if (!after_scan_.empty() &&
      std::ranges::all_of(scanning_, [&](const auto& one) { return one.second < early; })) {
    RunAfterScan();
  }
}

void Models::ScanPath(const std::string& path, std::function<void(const Found&)> done) {
  scanning_.try_emplace(path, options_.now());
  const auto finish = [this, path, done](const Found& found) {
    done(found);
    EndScan(path);
  };
  const std::string folder = path.substr(0, path.rfind('/') + 1);
  const bool begun = jobs_.Run(
      Jobs::Class::kIo, folder,
      [path, look = Looker{*options_.disk, options_.times.settle}](const std::atomic<bool>&) {
        return look(path, [](auto... parts) { return Found{std::move(parts)...}; });
      },
      finish);
  if (!begun)
    finish({path, path, Fail(ErrorCode::kOverloaded, "too many files are being looked at"), false});
}

void Models::ScanFolder(const std::string& folder) {
  if (!scanning_.try_emplace(folder, options_.now()).second) return;
  const bool begun = jobs_.Run(
      Jobs::Class::kIo, folder,
      [folder,
       look = Looker{*options_.disk, options_.times.settle}](const std::atomic<bool>&) -> Listing {
        std::vector<Found> files;
        for (const std::string& name : TRY(look.disk.List(folder))) {
          const std::string path = folder + "/" + name;
          if (name.starts_with('.') || IsLaterPart(path)) continue;
          if (!name.ends_with(".gguf") && !store::IsCheckpoint(look.disk, path)) continue;
          files.push_back(look(path, [](auto... parts) { return Found{std::move(parts)...}; }));
        }
        return files;
      },
      [this, folder](Listing listing) { OnListed(folder, std::move(listing)); });
  if (!begun) EndScan(folder);
}

void Models::OnListed(const std::string& folder, Listing listing) {
  const auto place = std::ranges::find(options_.folders, folder);
  const auto index = static_cast<size_t>(place - options_.folders.begin());
  if (index < next_first_) {
    Merge(folder, listing);
  } else {
    first_listings_.insert_or_assign(index, std::move(listing));
    for (auto next = first_listings_.find(next_first_); next != first_listings_.end();
         next = first_listings_.find(next_first_)) {
      Merge(options_.folders[next_first_++], next->second);
      first_listings_.erase(next);
    }
  }
  EndScan(folder);
}

// Once, until it is there again.
void Models::WarnOfFolder(const std::string& folder, const Listing& listing) {
  if (listing) {
    missing_.erase(folder);
    return;
  }
  if (std::ranges::find(options_.named_folders, folder) == options_.named_folders.end()) return;
  if (!missing_.insert(folder).second) return;
  LOG(kWarning,
      "no models are found in a folder of the setting 'models': {}; it is looked at again",
      listing.error().message);
}

// A folder that cannot be listed keeps its files: a drive may come back.
void Models::Merge(const std::string& folder, const Listing& listing) {
  WarnOfFolder(folder, listing);
  std::set<std::string> present;
  if (listing) {
    for (const Found& found : *listing) {
      present.insert(found.path);
      MergeOne(folder, found, false);
    }
  } else if (listing.error().code != ErrorCode::kNotFound &&
             listing.error().code != ErrorCode::kInvalid) {
    return;
  }
  std::erase_if(broken_, [&](const auto& one) {
    return one.first.starts_with(folder + "/") && !present.contains(one.first);
  });
  std::vector<std::string> gone;
  for (const auto& [path, entry] : entries_) {
    if (entry->folder == folder && !present.contains(path)) gone.push_back(path);
  }
  for (const std::string& path : gone) Drop(path);
}

// For files whose time of change is no help (it lies in the future, or another machine sets it).
bool Models::HasSettled(const Entry& entry, const sys::FileStamp& stamp) const {
  return entry.state == Entry::State::kSettling && entry.seen == stamp &&
         options_.now() - entry.last_sign >= options_.times.settle;
}

void Models::Settle(Entry& entry, const sys::FileStamp& stamp) {
  if (entry.state != Entry::State::kSettling || entry.settling_since == Time{})
    entry.settling_since = options_.now();
  if (entry.seen != stamp) entry.last_sign = options_.now();
  entry.seen = stamp;
  entry.state = Entry::State::kSettling;
  entry.progress = nullptr;
  entry.file = nullptr;
}

// `at_once`: somebody asked for this file, so it is read even if it was written a moment ago.
// Null: there is nothing at this path, or it is known under another one.
Models::Entry* Models::MergeOne(const std::string& folder, const Found& found, bool at_once) {
  const auto known = entries_.find(found.path);
  Entry* entry = known == entries_.end() ? nullptr : known->second.get();
  if (!found.stamp) {
    // A drive may come back; a folder or a pipe in the file's place is no model.
    const ErrorCode code = found.stamp.error().code;
    const bool gone = code == ErrorCode::kNotFound || code == ErrorCode::kInvalid;
    if (gone && entry != nullptr) {
      if (const auto named = paths_.find(found.path); named != paths_.end() && !named->second)
        paths_.erase(named);
      Drop(found.path);
    }
    // A link that leads nowhere, or a part that is missing; not a file that has just gone.
    if (!folder.empty() && ++broken_[found.path] == 2)
      LOG(kWarning, "leaving out a model: {}", found.stamp.error().message);
    return nullptr;
  }
  broken_.erase(found.path);
  if (entry == nullptr) {
    for (const auto& [unused, other] : entries_) {
      const bool same = other->canonical == found.canonical;
      if (same &&
          other->path.substr(other->path.rfind('/')) == found.path.substr(found.path.rfind('/'))) {
        return other.get();
      }
    }
    entry = &Claim(found, folder);
  } else if (entry->state != Entry::State::kSettling && entry->seen == *found.stamp) {
    return entry;
  }
  const bool had_file = entry->file != nullptr;
  entry->canonical = found.canonical;
  if (at_once || found.rests || HasSettled(*entry, *found.stamp)) {
    entry->seen = *found.stamp;
    Read(*entry);
  } else {
    Settle(*entry, *found.stamp);
  }
  if (had_file) changed_();
  return entry;
}

}  // namespace exo::node
