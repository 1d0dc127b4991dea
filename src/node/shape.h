// What the planner must know of a model, from the loader's own arithmetic.
#pragma once

#include "backend/backend.h"
#include "cluster/planner.h"
#include "store/manifest.h"

namespace exo::node {

cluster::ModelShape ShapeOf(const store::Manifest& manifest, std::string name,
                            const backend::Backend& backend);

}  // namespace exo::node
