// Created models (node::Preset) at work: what they say is filled in where a request says nothing,
// in any dialect.
//
// Thread: NoteGiven and ReadParameters any; ApplyPreset the event loop.
#pragma once

#include "node/api.h"
#include "service/errors.h"
#include "service/json.h"

namespace exo::service {

// Notes which parameters `body` has, under the names of any dialect.
void NoteGiven(const Json& body, node::GenerateRequest& request);

// Those that `parameters` has, by Ollama's names: the sampler's, `seed`, `stop` and `num_predict`
// (-1 and -2: no limit). Errors: 400 that names the parameter.
Parsed<> ReadParameters(const Json& parameters, node::GenerateRequest& request);
// Whether a parameter of this name can be set. Some are Ollama's about loading, without effect.
bool IsParameter(std::string_view name);

// Fills in what the preset that `request` names says. Nothing where it names a model.
void ApplyPreset(const node::Api& api, node::GenerateRequest& request);

}  // namespace exo::service
