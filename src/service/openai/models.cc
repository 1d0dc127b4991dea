#include "service/openai/models.h"

#include <fmt/chrono.h>

#include <chrono>

namespace exo::service::openai {

namespace {

// What a request may name by "id".
Json AdaptersJson(const std::vector<wire::AdapterRef>& adapters) {
  Json list = Json::array();
  for (size_t i = 0; i < adapters.size(); ++i) {
    list.push_back({{"id", i},
                    {"name", adapters[i].name},
                    {"scale", adapters[i].scale},
                    {"file_id", adapters[i].file.Hex()}});
  }
  return list;
}

}  // namespace

Json ModelJson(const node::ModelView& model) {
  const auto created = std::chrono::system_clock::time_point(std::chrono::seconds(model.created));
  return {
      {"id", model.name},
      {"object", "model"},
      {"created", model.created},
      {"owned_by", "exo"},
      {"type", "model"},
      {"display_name", model.name},
      {"created_at", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(created))},
      {"max_model_len", model.context},
      {"context_length", model.context},
      {"context_window", model.context},
      {"max_context_length", model.context},
      {"meta", {{"n_ctx", model.context}, {"n_ctx_train", model.context}, {"size", model.bytes}}},
      {"exo",
       {{"model_id", model.id.Hex()},
        {"architecture", model.architecture},
        {"layers", model.layers},
        {"bytes", model.bytes},
        {"local", model.local},
        {"held", model.held},
        {"names", model.names},
        {"state", model.state},
        {"replicas", model.replicas},
        {"adapters", AdaptersJson(model.adapters)},
        {"base", model.base.empty() ? Json() : Json(model.base)},
        {"draft", model.draft.empty() ? Json() : Json(model.draft)}}}};
}

Json ModelListJson(const std::vector<node::ModelView>& models) {
  Json data = Json::array();
  for (const node::ModelView& model : models) data.push_back(ModelJson(model));
  Json json = {
      {"object", "list"}, {"has_more", false}, {"first_id", nullptr}, {"last_id", nullptr}};
  if (!models.empty()) {
    json["first_id"] = models.front().name;
    json["last_id"] = models.back().name;
  }
  json["data"] = std::move(data);
  return json;
}

}  // namespace exo::service::openai
