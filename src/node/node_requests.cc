// What the node tells of the requests of its clients.
#include "node/node_impl.h"

namespace exo::node {

RequestView NodeImpl::ViewOf(const RequestRecord& record, const cluster::NameOf& name_of) const {
  RequestView view = record.view();
  view.entry = record_.name;
  for (const NodeId& node : record.nodes()) view.devices.push_back(name_of(node));
  return view;
}

std::vector<RequestView> NodeImpl::RequestList() const {
  std::map<NodeId, std::string> names;  // one look at the nodes for all
  for (const cluster::NodeStatus& status : core_->Nodes())
    names[status.record.id] = KnownNameOf(status.record);
  const auto name_of = [&](const NodeId& node) {
    const auto found = names.find(node);
    return found == names.end() ? node.Short() : found->second;
  };
  std::vector<RequestView> list;
  for (const auto& record : requests_->records().All()) list.push_back(ViewOf(*record, name_of));
  return list;
}

std::optional<RequestView> NodeImpl::FindRequest(const RequestId& call) const {
  const auto record = requests_->records().Find(call);
  if (record == nullptr) return std::nullopt;
  return ViewOf(*record, Names());
}

std::optional<RequestTrace> NodeImpl::TraceOf(const RequestId& call) const {
  const auto record = requests_->records().Find(call);
  if (record == nullptr || record->trace() == nullptr) return std::nullopt;
  return RequestTrace{.id = call,
                      .model = record->view().model,
                      .entry = record_.name,
                      .started_ms = record->view().started_ms,
                      .spans = record->trace()->Spans(record_.name, Names()),
                      .dropped = record->trace()->dropped()};
}

}  // namespace exo::node
