// Who wants to hear of something, and until when: a place in the list is an object, whose
// destruction ends the calls. A listener may leave, and others with it, while it is called.
//
// Thread: one. Places may outlive the list.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

namespace exo::service {

template <class Listener>
class Listeners {
  using Map = std::map<uint64_t, Listener*>;

 public:
  class Place {
   public:
    Place(std::shared_ptr<Map> map, uint64_t key) : map_(std::move(map)), key_(key) {}
    ~Place() { map_->erase(key_); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    const std::shared_ptr<Map> map_;
    const uint64_t key_;
  };

  // `listener` must outlive its place.
  std::unique_ptr<Place> Add(Listener& listener) {
    map_->emplace(next_, &listener);
    return std::make_unique<Place>(map_, next_++);
  }
  bool empty() const { return map_->empty(); }
  size_t size() const { return map_->size(); }
  // Calls call(listener) for each.
  template <class Call>
  void Each(const Call& call) {
    const Map now = *map_;
    for (const auto& [key, listener] : now) {
      if (map_->contains(key)) call(*listener);
    }
  }

 private:
  const std::shared_ptr<Map> map_ = std::make_shared<Map>();
  uint64_t next_ = 0;
};

}  // namespace exo::service
