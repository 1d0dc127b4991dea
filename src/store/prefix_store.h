// Pages of KV that outlive their sequences, on disk: what a node keeps of ended requests across
// restarts, plans and models. Files are sealed with a key of the node (sealed_page.h); one that is
// damaged, cut off or of another key is removed and counts as not there. It is a cache: what cannot
// be written is dropped, and nothing is ever fsynced.
//
//   <tag>-<layer_begin>-<layer_end>.page   a page
//   <tag>-<tag of the scope>.text          its tokens, at the lead
//
// All files of a page go together, the least recently used first, when the folder is over its
// budget. Of one sequence the last pages go first: a page counts as used one second earlier than
// the one before it. Times of use are the files' times of change, so that they outlast a restart.
//
// Everything but Load is done later, by a thread of the store's own. After a write that failed (a
// full disk) it writes nothing for a minute and then tries again; it says so once, and when it
// writes again. What was there at the start and has not been read since may be damaged: a page that
// was computed again is written again.
//
// Thread: any. Not shared between processes: the data folder is locked.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "backend/page_store.h"
#include "base/mutex.h"
#include "base/units.h"
#include "store/sealed_page.h"

namespace exo::store {

struct PrefixStoreOptions {
  std::string folder;
  uint64_t budget = 0;  // bytes of all files
  SealKey key{};
  // How a whole file is written under its name; tests let it fail.
  std::function<Result<void>(const std::string& path, std::span<const std::byte> bytes)> write;
  // Pages that wait to be written, in bytes; one may always wait.
  uint64_t queue_bytes = 64u << 20;
  Time retry = std::chrono::minutes(1);  // after a write that failed
};

struct PrefixStoreStats {
  uint64_t bytes = 0;            // on disk
  uint64_t pages = 0;            // written since the start
  uint64_t loads = 0;            // pages that were found
  uint64_t misses = 0;           // that were not there, or damaged
  uint64_t dropped = 0;          // pages that were not written
  uint64_t restored_tokens = 0;  // of prompts that this node led
};

class PrefixStore final : public backend::PageStore {
 public:
  // Errors: kIo (the folder cannot be made). What lies in it is looked at in the background.
  static Result<std::unique_ptr<PrefixStore>> Open(PrefixStoreOptions options);
  // Writes what waits, for kDrain at most.
  ~PrefixStore() override;
  PrefixStore(const PrefixStore&) = delete;
  PrefixStore& operator=(const PrefixStore&) = delete;

  Room Ask(const PageName& name, size_t bytes) override;
  void Save(const PageName& name, SavedPage page) override;
  Result<SavedPage> Load(const PageName& name) override;
  void SaveText(backend::PageText text) override;
  void ForgetText(const Hash256& scope, const Hash256& key) override;
  std::shared_ptr<backend::PageTexts> Texts(const Hash256& scope) override;
  void NoteRestored(uint32_t tokens) override;

  // Until all that was asked so far is done.
  void Wait();
  PrefixStoreStats stats() const;

 private:
  static constexpr Time kDrain = std::chrono::seconds(2);
  static constexpr Time kLoadWait = std::chrono::seconds(2);  // for a page that is being written
  static constexpr size_t kMaxTasks = 4096;

  // Name of a file, taken apart.
  struct FileName {
    PageTag tag;
    PageTag scope;  // of a text
    bool text = false;
    uint32_t layer_begin = 0;
    uint32_t layer_end = 0;
    std::string Text() const;
    static std::optional<FileName> Parse(std::string_view name);
    friend auto operator<=>(const FileName&, const FileName&) = default;
  };
  // All files of one page.
  struct Entry {
    int64_t used_ns = 0;
    std::map<FileName, uint64_t> files;  // and their bytes
  };
  struct Task {
    std::function<void()> run;
    size_t bytes = 0;  // of the pages that it holds
  };

  explicit PrefixStore(PrefixStoreOptions options) : options_(std::move(options)) {}
  void Main();
  bool Post(Task task);
  void Scan();
  void ScanFile(const std::string& name);
  void Write(const FileName& name, uint32_t index, std::span<const std::byte> bytes);
  bool MakeRoom(uint64_t bytes);
  bool IsFull() const EXO_REQUIRES(mutex_);
  void Add(const FileName& name, uint64_t bytes, int64_t used_ns);
  void Remove(const FileName& name);
  void Touch(const PageTag& tag, uint32_t index);
  std::vector<backend::PageText> ReadTexts(const PageTag& scope);
  // The file that holds these layers of a page. Nothing: none.
  std::optional<FileName> Find(const PageTag& tag, const PageName& name) const EXO_REQUIRES(mutex_);
  std::string PathOf(const FileName& name) const { return options_.folder + "/" + name.Text(); }
  static int64_t UseTime(uint32_t index);

  PrefixStoreOptions options_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::map<PageTag, Entry> entries_ EXO_GUARDED_BY(mutex_);
  std::set<std::pair<int64_t, PageTag>> by_use_ EXO_GUARDED_BY(mutex_);
  std::set<FileName> writing_ EXO_GUARDED_BY(mutex_);  // waiting or being written
  std::deque<Task> tasks_ EXO_GUARDED_BY(mutex_);
  size_t waiting_bytes_ EXO_GUARDED_BY(mutex_) = 0;
  bool at_work_ EXO_GUARDED_BY(mutex_) = true;  // with the scan at first
  bool stop_ EXO_GUARDED_BY(mutex_) = false;
  std::optional<Time> full_until_ EXO_GUARDED_BY(mutex_);  // a write failed
  std::set<FileName> unread_ EXO_GUARDED_BY(mutex_);       // since the scan
  PrefixStoreStats stats_ EXO_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace exo::store
