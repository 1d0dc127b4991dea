// A prefix store in memory that can lose and refuse pages. For tests only.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "backend/page_store.h"

namespace exo::engine {

class MemoryPages final : public backend::PageStore {
 public:
  Room Ask(const PageName& name, size_t) override {
    if (full) return Room::kFull;
    return pages.contains(Of(name)) ? Room::kHave : Room::kYes;
  }
  void Save(const PageName& name, SavedPage page) override { pages[Of(name)] = std::move(page); }
  Result<SavedPage> Load(const PageName& name) override {
    for (const auto& [of, page] : pages) {
      const auto& [key, begin, end] = of;
      if (key != name.key || begin > name.layer_begin || end < name.layer_end) continue;
      const size_t layer = page.bytes.size() / (end - begin);
      const auto first =
          page.bytes.begin() + static_cast<ptrdiff_t>((name.layer_begin - begin) * layer);
      const auto bytes = static_cast<ptrdiff_t>((name.layer_end - name.layer_begin) * layer);
      return SavedPage{page.positions, {first, first + bytes}};
    }
    return Fail(ErrorCode::kNotFound, "no such page");
  }
  void SaveText(backend::PageText text) override {
    const MutexLock lock(mutex);
    texts.push_back(std::move(text));
  }
  void ForgetText(const Hash256&, const Hash256& key) override {
    const MutexLock lock(mutex);
    std::erase_if(texts, [&](const auto& text) { return text.key == key; });
  }
  std::shared_ptr<backend::PageTexts> Texts(const Hash256& scope) override {
    const MutexLock lock(mutex);
    auto found = std::make_shared<backend::PageTexts>();
    std::vector<backend::PageText> all;
    for (const auto& text : texts) {
      if (text.scope == scope) all.push_back(text);
    }
    found->Put(std::move(all));
    return found;
  }
  void NoteRestored(uint32_t tokens) override {
    const MutexLock lock(mutex);
    restored += tokens;
  }

  using Key = std::tuple<Hash256, uint32_t, uint32_t>;
  static Key Of(const PageName& name) { return {name.key, name.layer_begin, name.layer_end}; }
  // Of one stage thread.
  std::map<Key, SavedPage> pages;
  bool full = false;
  Mutex mutex;
  std::vector<backend::PageText> texts EXO_GUARDED_BY(mutex);
  uint64_t restored EXO_GUARDED_BY(mutex) = 0;
};

}  // namespace exo::engine
