#include "app/plan_command.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/cluster_file.h"
#include "app/model_path.h"
#include "app/output.h"
#include "app/plan_picture.h"
#include "backend/devices.h"
#include "cluster/planner.h"
#include "kernels/kernels.h"
#include "node/plan_view.h"
#include "node/shape.h"
#include "service/admin/render.h"
#include "store/model.h"
#include "sys/files.h"
#include "sys/standard_streams.h"
#include "wire/plan.h"

namespace exo::app {
namespace {

using nlohmann::json;

constexpr size_t kUsualColumns = 80;
constexpr size_t kMostClusterFile = 1 << 20;

template <class Names>
uint8_t IndexOf(const Names& names, const std::string& name) {
  const auto at = std::ranges::find(names, name);
  return at == names.end() ? 0 : static_cast<uint8_t>(at - names.begin());
}

Result<cluster::PlanOptions> OptionsOf(const PlanCommandOptions& options) {
  const PlacingOptions& placing = options.placing;
  if (!placing.lora.empty() || !placing.draft.empty()) {
    return Fail(ErrorCode::kInvalid,
                "--cluster describes devices, not files: --lora and --draft need a running node");
  }
  const std::string split = placing.spread ? "layer" : placing.split;
  return cluster::PlanOptions{.split = static_cast<wire::Split>(IndexOf(wire::kSplitNames, split)),
                              .use = static_cast<wire::Use>(IndexOf(wire::kUseNames, placing.use)),
                              .users = options.placing.users,
                              .context = placing.context.value_or(0),
                              .kv_type = IndexOf(wire::kKvNames, placing.kv)};
}

// From the model's head alone: its weights are not read.
Result<cluster::ModelShape> ReadShape(const Settings& settings, const std::string& model) {
  const auto file = TRY(store::ModelFile::Open(TRY(FindModelPath(settings, model)),
                                               {.manifest = {.identify = false}}));
  const auto backend = TRY(backend::MakeBackend({.isa = settings.isa, .threads = 1}));
  return node::ShapeOf(file->manifest(), file->name(), *backend);
}

Result<json> PlanDescribed(const Settings& settings, const PlanCommandOptions& options) {
  const cluster::PlanOptions wanted = TRY(OptionsOf(options));
  const std::string text = TRY(sys::ReadFile(options.cluster, kMostClusterFile));
  const std::vector<cluster::PlanNode> nodes = TRY(ParseCluster(text, options.cluster));
  const cluster::ModelShape shape = TRY(ReadShape(settings, options.model));
  const cluster::PlanChoice choice = TRY(cluster::MakePlan(shape, nodes, wanted));
  const auto name_of = [&](const NodeId& id) {
    const auto at = std::ranges::find(nodes, id, &cluster::PlanNode::id);
    return at == nodes.end() ? id.Short() : at->name;
  };
  std::vector<wire::PlannedReplica> replicas;
  for (const cluster::PlanChoice& replica : cluster::EachReplica(choice))
    replicas.push_back({replica.plan, cluster::ExpectationOf(replica)});
  return service::admin::PlanJson(node::MakePlanView(replicas, choice.rivals, nodes, name_of));
}

Result<json> PlanOnNode(const Settings& settings, const PlanCommandOptions& options) {
  const HttpClient api = TRY(OwnNode(settings));
  const std::string& model = options.model;
  const json body =
      TRY(PlacingJson(LooksLikePath(model) ? TRY(PathForNode(model)) : model, options.placing));
  return api.Post("/v1/internal/plan", body);
}

}  // namespace

Result<void> RunPlan(const Settings& settings, const PlanCommandOptions& options) {
  const json plan = TRY(options.cluster.empty() ? PlanOnNode(settings, options)
                                                : PlanDescribed(settings, options));
  if (options.json) {
    PrintJson(plan);
    return {};
  }
  const size_t columns = sys::TerminalColumns(1).value_or(kUsualColumns);
  Print("{}", PlanPicture(plan, columns));
  if (options.explain) Print("{}", PlanExplanation(plan, columns));
  return {};
}

}  // namespace exo::app
