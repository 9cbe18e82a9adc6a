// libyaml 0.2, https://pyyaml.org/wiki/LibYAML; Debian package libyaml-dev.
#ifndef TAPLINE_CYAML_SHIM_H
#define TAPLINE_CYAML_SHIM_H

#include <yaml.h>

#endif
