#include "node/moved_source.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/log.h"
#include "node/bulk_client.h"
#include "wire/plan.h"

namespace exo::node {
namespace {

using engine::LayerPage;
using engine::MovedPageName;
using Layers = std::span<const uint32_t>;

// A page is recomputed in about this time: nobody waits much longer for it.
constexpr BulkClient::Limits kLimits = {.connect = std::chrono::seconds(2),
                                        .reply = std::chrono::seconds(5)};

class MovedSource {
 public:
  MovedSource(const net::Identity& identity, engine::MovedPages& own, MovedSourceOptions options)
      : identity_(identity), own_(own), options_(std::move(options)) {}

  Result<std::vector<LayerPage>> Load(const MovedPageName& name, Layers layers) {
    std::vector<LayerPage> loaded;
    while (loaded.size() < layers.size()) {
      const Layers rest = layers.subspan(loaded.size());
      const wire::FormerStage* stage = StageOf(rest.front());
      if (stage == nullptr)
        return Fail(ErrorCode::kNotFound, "layer {} was nowhere before", rest.front());
      const auto end =
          std::ranges::find_if(rest, [&](uint32_t layer) { return layer >= stage->layer_end; });
      const Layers part = rest.first(static_cast<size_t>(end - rest.begin()));
      TRY(stage->node == options_.self ? TakeOwn(name, part, loaded)
                                       : Ask(stage->node, name, part, loaded));
    }
    return loaded;
  }

 private:
  const wire::FormerStage* StageOf(uint32_t layer) const {
    const auto at = std::ranges::find_if(options_.former.stages, [&](const auto& stage) {
      return stage.layer_begin <= layer && layer < stage.layer_end;
    });
    return at == options_.former.stages.end() ? nullptr : &*at;
  }

  Result<void> TakeOwn(const MovedPageName& name, Layers layers, std::vector<LayerPage>& to) {
    const auto limit = std::chrono::steady_clock::now() + kMovedWait;
    for (const uint32_t layer : layers) {
      auto page = own_.Take(options_.former.plan, name, layer, limit);
      if (!page) return Fail(ErrorCode::kNotFound, "layer {} is not here any more", layer);
      to.push_back(*std::move(page));
    }
    return {};
  }

  Result<void> Ask(const NodeId& node, const MovedPageName& name, Layers layers,
                   std::vector<LayerPage>& to) {
    const auto known = options_.others.find(node);
    if (known == options_.others.end())
      return Fail(ErrorCode::kDisconnected, "device {} cannot be reached", node.Short());
    auto done = AskThere(known->second, name, layers, to);
    if (done) return {};
    LOG(kInfo, "peer={}: no KV of the former plan: {}", node.Short(), done.error().message);
    options_.others.erase(known);
    clients_.erase(node);
    return done;
  }

  Result<void> AskThere(const net::ConnectOptions& target, const MovedPageName& name, Layers layers,
                        std::vector<LayerPage>& to) {
    std::unique_ptr<BulkClient>& client = clients_[target.expected];
    if (client == nullptr) client = TRY(BulkClient::Connect(identity_, target, kLimits));
    while (!layers.empty()) {
      const auto reply = TRY(
          client->Ask<wire::PageReply>(wire::PageRequest{.plan = options_.former.plan,
                                                         .request = name.request,
                                                         .index = name.index,
                                                         .layers = {layers.begin(), layers.end()}},
                                       nullptr));
      if (!reply.found) return Fail(ErrorCode::kNotFound, "it has not got this page");
      if (reply.layers == 0 || reply.layers > layers.size() ||
          reply.bytes.size() % reply.layers != 0) {
        return Fail(ErrorCode::kCorrupt, "{} bytes of {} layers came, of {} that were asked for",
                    reply.bytes.size(), reply.layers, layers.size());
      }
      const auto bytes = std::as_bytes(std::span(reply.bytes));
      const size_t each = bytes.size() / reply.layers;
      for (uint32_t i = 0; i < reply.layers; ++i) {
        const auto page = bytes.subspan(i * each, each);
        to.push_back({reply.positions, {page.begin(), page.end()}});
      }
      layers = layers.subspan(reply.layers);
    }
    return {};
  }

  const net::Identity& identity_;
  engine::MovedPages& own_;
  MovedSourceOptions options_;
  std::map<NodeId, std::unique_ptr<BulkClient>> clients_;
};

}  // namespace

wire::PageReply PageOf(engine::MovedPages& pages, const wire::PageRequest& request) {
  const auto limit = std::chrono::steady_clock::now() + kMovedWait;
  wire::PageReply reply;
  for (const uint32_t layer : request.layers) {
    auto page = pages.Take(request.plan, {request.request, request.index}, layer, limit);
    const bool same = page && (reply.layers == 0 || page->positions == reply.positions);
    if (!same || page->bytes.size() > wire::kMaxPageLayer) return {};
    const auto* first = reinterpret_cast<const uint8_t*>(page->bytes.data());
    reply.bytes.insert(reply.bytes.end(), first, first + page->bytes.size());
    reply.positions = page->positions;
    ++reply.layers;
    if (reply.bytes.size() + page->bytes.size() > wire::kMaxPagePiece) break;
  }
  reply.found = reply.layers > 0;
  return reply;
}

engine::LoadMoved MakeMovedSource(const net::Identity& identity, engine::MovedPages& own,
                                  MovedSourceOptions options) {
  auto source = std::make_shared<MovedSource>(identity, own, std::move(options));
  return [source](const MovedPageName& name, Layers layers) { return source->Load(name, layers); };
}

}  // namespace exo::node
