// Where pages of KV outlive their sequences (StageCompute::SavePage): the engine's view of it. The
// store of a node implements it over files (store/prefix_store.h), tests over memory.
//
// A page is named by a key that says all that decides its bits but for the layers
// (engine/stored_prefixes.h); what a stage saved can be loaded by one that holds some of its
// layers.
//
// Thread: any. Nothing but Load waits for a disk.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "base/result.h"

namespace exo::backend {

// The tokens of a page, which only the lead keeps.
struct PageText {
  Hash256 key;
  Hash256 scope;
  Hash256 parent;
  std::vector<TokenId> tokens;  // 1 to 256
  uint32_t index = 0;           // of the page in its sequence
};

// Filled once, on another thread.
class PageTexts {
 public:
  void Put(std::vector<PageText> texts) {
    const MutexLock lock(mutex_);
    texts_ = std::move(texts);
    there_.NotifyAll();
  }
  // Waits for them until `deadline`. Nothing: not there yet, or taken.
  std::optional<std::vector<PageText>> Take(std::chrono::steady_clock::time_point deadline = {}) {
    const MutexLock lock(mutex_);
    while (!texts_) {
      if (!there_.WaitUntil(mutex_, deadline)) break;
    }
    return std::exchange(texts_, std::nullopt);
  }

 private:
  Mutex mutex_;
  CondVar there_;
  std::optional<std::vector<PageText>> texts_ EXO_GUARDED_BY(mutex_);
};

class PageStore {
 public:
  // Which page, and of which layers, counted among those that pages of this key hold.
  struct PageName {
    Hash256 key;
    uint32_t layer_begin = 0;  // [begin, end), not empty
    uint32_t layer_end = 0;
    uint32_t index = 0;  // in its sequence: of one sequence the last pages go first
  };
  struct SavedPage {
    uint32_t positions = 0;
    std::vector<std::byte> bytes;  // of each layer as many
  };

  virtual ~PageStore() = default;
  enum class Room : uint8_t {
    kYes,
    kHave,  // it is here
    kFull,  // too much waits to be written, or nothing can be written any more
  };
  // Before the work of a save.
  virtual Room Ask(const PageName& name, size_t bytes) = 0;
  // Writes it later. What cannot be written is dropped.
  virtual void Save(const PageName& name, SavedPage page) = 0;
  // Errors: kNotFound, kCorrupt (it is damaged, and removed), kIo.
  virtual Result<SavedPage> Load(const PageName& name) = 0;

  // At the lead. Text of pages that all stages have taken; and of one that a stage has lost.
  virtual void SaveText(PageText text) = 0;
  virtual void ForgetText(const Hash256& scope, const Hash256& key) = 0;
  // All texts of a scope, later.
  virtual std::shared_ptr<PageTexts> Texts(const Hash256& scope) = 0;
  // So many tokens of a prompt came from here instead of being computed.
  virtual void NoteRestored(uint32_t tokens) = 0;
};

}  // namespace exo::backend
