#include "store/prefix_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/check.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/units.h"
#include "sys/system.h"

namespace exo::store {
namespace {

using backend::PageText;
using backend::PageTexts;

constexpr int64_t kSecond = 1'000'000'000;

// Old or new, never half; without fsync, since a file that is damaged is not there.
Result<void> WriteWhole(const std::string& path, std::span<const std::byte> bytes) {
  const auto writer = TRY(sys::FileWriter::Create(path, 0600));
  TRY(writer->Append(bytes));
  return writer->Commit(sys::FileWriter::Sync::kNo);
}

std::optional<uint32_t> Number(std::string_view text) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::string PrefixStore::FileName::Text() const {
  if (text) return fmt::format("{}-{}.text", tag.Hex(), scope.Hex());
  return fmt::format("{}-{}-{}.page", tag.Hex(), layer_begin, layer_end);
}

std::optional<PrefixStore::FileName> PrefixStore::FileName::Parse(std::string_view name) {
  constexpr size_t kHex = 2 * PageTag::kSize;
  if (name.size() < kHex + 1) return std::nullopt;
  FileName parsed;
  const auto tag = PageTag::FromHex(name.substr(0, kHex));
  const size_t dot = name.rfind('.');
  if (!tag || name[kHex] != '-' || dot == name.npos || dot < kHex + 1) return std::nullopt;
  parsed.tag = *tag;
  const std::string_view rest = name.substr(kHex + 1, dot - kHex - 1), ending = name.substr(dot);
  if (ending == ".text") {
    const auto scope = PageTag::FromHex(rest);
    if (!scope) return std::nullopt;
    parsed.text = true;
    parsed.scope = *scope;
    return parsed;
  }
  const size_t dash = rest.find('-');
  if (ending != ".page" || dash == rest.npos) return std::nullopt;
  const auto begin = Number(rest.substr(0, dash)), end = Number(rest.substr(dash + 1));
  if (!begin || !end || *begin >= *end) return std::nullopt;
  parsed.layer_begin = *begin;
  parsed.layer_end = *end;
  // One spelling per file.
  if (parsed.Text() != name) return std::nullopt;
  return parsed;
}

Result<std::unique_ptr<PrefixStore>> PrefixStore::Open(PrefixStoreOptions options) {
  if (!options.write) options.write = &WriteWhole;
  TRY(sys::MakeFolders(options.folder));
  std::unique_ptr<PrefixStore> store(new PrefixStore(std::move(options)));
  store->thread_ = StartThread([self = store.get()] { self->Main(); });
  return store;
}

PrefixStore::~PrefixStore() {
  {
    const MutexLock lock(mutex_);
    stop_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void PrefixStore::Main() {
  Scan();
  std::optional<Time> limit;
  for (;;) {
    Task task;
    {
      const MutexLock lock(mutex_);
      at_work_ = false;
      changed_.NotifyAll();
      while (tasks_.empty() && !stop_) changed_.Wait(mutex_);
      if (stop_ && !limit) limit = sys::Now() + kDrain;
      if (tasks_.empty() || (limit && sys::Now() > *limit)) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
      at_work_ = true;
    }
    task.run();
    const MutexLock lock(mutex_);
    waiting_bytes_ -= task.bytes;
  }
}

void PrefixStore::Wait() {
  const MutexLock lock(mutex_);
  while (at_work_ || !tasks_.empty()) changed_.Wait(mutex_);
}

bool PrefixStore::Post(Task task) {
  const MutexLock lock(mutex_);
  if (stop_ || tasks_.size() >= kMaxTasks) return false;
  waiting_bytes_ += task.bytes;
  tasks_.push_back(std::move(task));
  changed_.NotifyAll();
  return true;
}

// ---- what is there ----

void PrefixStore::Scan() {
  for (const std::string& name : sys::ListFolder(options_.folder)) {
    {
      const MutexLock lock(mutex_);
      if (stop_) return;
    }
    ScanFile(name);
  }
  (void)MakeRoom(0);
}

// Only the header is looked at: the rest is when it is read.
void PrefixStore::ScanFile(const std::string& name) {
  const std::string path = options_.folder + "/" + name;
  const auto parsed = FileName::Parse(name);
  // Whose folder it also is, a file of another name is not ours to remove.
  if (!parsed && !FileName::Parse(std::string_view(name).substr(0, name.find(".new.")))) return;
  const auto file = sys::RealDisk().Open(path);
  if (file && parsed) {
    const auto header = ReadHeader(options_.key, **file);
    if (header && header->tag == parsed->tag && header->text == parsed->text &&
        (parsed->text ||
         (header->layer_begin == parsed->layer_begin && header->layer_end == parsed->layer_end))) {
      Add(*parsed, (*file)->stamp().bytes, (*file)->stamp().modified_ns);
      const MutexLock lock(mutex_);
      unread_.insert(*parsed);
      return;
    }
  }
  (void)sys::RemoveFile(path);  // what a write that was broken off left, or a damaged file
}

void PrefixStore::Add(const FileName& name, uint64_t bytes, int64_t used_ns) {
  const MutexLock lock(mutex_);
  Entry& entry = entries_[name.tag];
  by_use_.erase({entry.used_ns, name.tag});
  entry.used_ns = std::max(entry.used_ns, used_ns);
  by_use_.insert({entry.used_ns, name.tag});
  uint64_t& known = entry.files[name];
  stats_.bytes += bytes - known;
  known = bytes;
}

void PrefixStore::Remove(const FileName& name) {
  {
    const MutexLock lock(mutex_);
    const auto at = entries_.find(name.tag);
    if (at == entries_.end()) return;
    const auto file = at->second.files.find(name);
    if (file == at->second.files.end()) return;
    stats_.bytes -= file->second;
    at->second.files.erase(file);
    unread_.erase(name);
    if (at->second.files.empty()) {
      by_use_.erase({at->second.used_ns, name.tag});
      entries_.erase(at);
    }
  }
  (void)sys::RemoveFile(PathOf(name));
}

// False: so much never fits.
bool PrefixStore::MakeRoom(uint64_t bytes) {
  if (bytes > options_.budget) return false;
  for (;;) {
    std::vector<FileName> oldest;
    {
      const MutexLock lock(mutex_);
      if (stats_.bytes + bytes <= options_.budget || by_use_.empty()) return true;
      for (const auto& [name, unused] : entries_.at(by_use_.begin()->second).files)
        oldest.push_back(name);
    }
    for (const FileName& name : oldest) Remove(name);
  }
}

int64_t PrefixStore::UseTime(uint32_t index) {
  return (sys::WallClockSeconds() - static_cast<int64_t>(index)) * kSecond;
}

void PrefixStore::Touch(const PageTag& tag, uint32_t index) {
  const int64_t now = UseTime(index);
  std::vector<std::string> paths;
  {
    const MutexLock lock(mutex_);
    const auto at = entries_.find(tag);
    if (at == entries_.end() || at->second.used_ns >= now) return;
    by_use_.erase({at->second.used_ns, tag});
    at->second.used_ns = now;
    by_use_.insert({now, tag});
    for (const auto& [name, unused] : at->second.files) paths.push_back(PathOf(name));
  }
  for (const std::string& path : paths) (void)sys::SetModified(path, now);
}

std::optional<PrefixStore::FileName> PrefixStore::Find(const PageTag& tag,
                                                       const PageName& name) const {
  const auto holds = [&](const FileName& file) {
    return !file.text && file.tag == tag && file.layer_begin <= name.layer_begin &&
           file.layer_end >= name.layer_end;
  };
  if (const auto at = entries_.find(tag); at != entries_.end()) {
    for (const auto& [file, unused] : at->second.files) {
      if (holds(file)) return file;
    }
  }
  const auto waiting = std::ranges::find_if(writing_, holds);
  return waiting == writing_.end() ? std::nullopt : std::optional(*waiting);
}

// ---- pages ----

bool PrefixStore::IsFull() const {
  return full_until_ && sys::Now() < *full_until_;
}

backend::PageStore::Room PrefixStore::Ask(const PageName& name, size_t bytes) {
  const PageTag tag = TagOf(options_.key, name.key);
  const MutexLock lock(mutex_);
  if (const auto found = Find(tag, name); found && !unread_.contains(*found)) return Room::kHave;
  const bool waits = waiting_bytes_ > 0 && waiting_bytes_ + bytes > options_.queue_bytes;
  return IsFull() || stop_ || waits || bytes > options_.budget ? Room::kFull : Room::kYes;
}

void PrefixStore::Save(const PageName& name, SavedPage page) {
  const FileName file{.tag = TagOf(options_.key, name.key),
                      .layer_begin = name.layer_begin,
                      .layer_end = name.layer_end};
  {
    const MutexLock lock(mutex_);
    writing_.insert(file);
  }
  const size_t bytes = page.bytes.size();
  Task task{.run =
                [this, name, file, page = std::move(page)] {
                  Write(file, name.index, SealPage(options_.key, name, page));
                  const MutexLock lock(mutex_);
                  writing_.erase(file);
                },
            .bytes = bytes};
  if (Post(std::move(task))) return;
  const MutexLock lock(mutex_);
  writing_.erase(file);
  ++stats_.dropped;
}

void PrefixStore::Write(const FileName& name, uint32_t index, std::span<const std::byte> bytes) {
  {
    const MutexLock lock(mutex_);
    if (IsFull()) {
      stats_.dropped += !name.text;
      return;
    }
  }
  const bool fits = MakeRoom(bytes.size());
  const auto written = fits ? options_.write(PathOf(name), bytes) : Result<void>{};
  if (written && fits) {
    const int64_t used = UseTime(index);
    (void)sys::SetModified(PathOf(name), used);
    Add(name, bytes.size(), used);
    const MutexLock lock(mutex_);
    stats_.pages += !name.text;
    unread_.erase(name);
    if (std::exchange(full_until_, std::nullopt))
      LOG(kWarning, "the prefix store keeps pages again");
    return;
  }
  const MutexLock lock(mutex_);
  stats_.dropped += !name.text;
  if (written) return;
  if (!full_until_) {
    LOG(kWarning, "the prefix store keeps no more pages for now and tries again each minute: {}",
        written.error().message);
  }
  full_until_ = sys::Now() + options_.retry;
}

Result<backend::PageStore::SavedPage> PrefixStore::Load(const PageName& name) {
  const PageTag tag = TagOf(options_.key, name.key);
  std::optional<FileName> found;
  {
    const MutexLock lock(mutex_);
    const auto limit = std::chrono::steady_clock::now() + kLoadWait;
    for (found = Find(tag, name); found && writing_.contains(*found); found = Find(tag, name)) {
      if (!changed_.WaitUntil(mutex_, limit)) break;
    }
    ++(found ? stats_.loads : stats_.misses);
  }
  if (!found) return Fail(ErrorCode::kNotFound, "no such page is stored here");
  const auto read = [&]() -> Result<SavedPage> {
    const auto file = TRY(sys::RealDisk().Open(PathOf(*found)));
    return ReadPage(options_.key, *file, name);
  };
  auto page = read();
  if (page) {
    {
      const MutexLock lock(mutex_);
      unread_.erase(*found);
    }
    (void)Post({.run = [this, tag, index = name.index] { Touch(tag, index); }});
    return page;
  }
  LOG(kInfo, "{} is removed: {}", PathOf(*found), page.error().message);
  Remove(*found);
  const MutexLock lock(mutex_);
  --stats_.loads;
  ++stats_.misses;
  return page;
}

// ---- texts ----

void PrefixStore::SaveText(PageText text) {
  const FileName file{
      .tag = TagOf(options_.key, text.key), .scope = TagOf(options_.key, text.scope), .text = true};
  (void)Post({.run = [this, file, text = std::move(text)] {
    {
      const MutexLock lock(mutex_);
      const auto at = entries_.find(file.tag);
      if (at != entries_.end() && at->second.files.contains(file)) return;
    }
    Write(file, text.index, SealText(options_.key, text));
  }});
}

void PrefixStore::ForgetText(const Hash256& scope, const Hash256& key) {
  const FileName file{
      .tag = TagOf(options_.key, key), .scope = TagOf(options_.key, scope), .text = true};
  (void)Post({.run = [this, file] { Remove(file); }});
}

std::shared_ptr<PageTexts> PrefixStore::Texts(const Hash256& scope) {
  auto texts = std::make_shared<PageTexts>();
  (void)Post(
      {.run = [this, texts, tag = TagOf(options_.key, scope)] { texts->Put(ReadTexts(tag)); }});
  return texts;
}

std::vector<PageText> PrefixStore::ReadTexts(const PageTag& scope) {
  std::vector<FileName> files;
  {
    const MutexLock lock(mutex_);
    for (const auto& [tag, entry] : entries_) {
      for (const auto& [name, unused] : entry.files) {
        if (name.text && name.scope == scope) files.push_back(name);
      }
    }
  }
  std::vector<PageText> texts;
  for (const FileName& name : files) {
    {
      const MutexLock lock(mutex_);
      if (stop_) return texts;
    }
    const auto file = sys::RealDisk().Open(PathOf(name));
    auto text = file ? ReadText(options_.key, **file) : std::unexpected(file.error());
    if (text && TagOf(options_.key, text->key) == name.tag) {
      texts.push_back(std::move(*text));
    } else {
      Remove(name);
    }
  }
  return texts;
}

void PrefixStore::NoteRestored(uint32_t tokens) {
  const MutexLock lock(mutex_);
  stats_.restored_tokens += tokens;
}

PrefixStoreStats PrefixStore::stats() const {
  const MutexLock lock(mutex_);
  return stats_;
}

}  // namespace exo::store
