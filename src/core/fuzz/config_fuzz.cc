// Configuration files and RUN/config.json: arbitrary bytes never crash, and whatever JSON is
// accepted survives a round trip.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "wheeltapper/core/regex.h"

#include "config_layers.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using wheeltapper::Config;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto settings = wheeltapper::ParseTomlSettings(text, ""); settings.ok()) {
    for (const wheeltapper::TomlSetting& setting : *settings) {
      if (const wheeltapper::ConfigKey* key = wheeltapper::FindConfigKey(setting.key)) {
        wheeltapper::CheckConfigValue(*key, setting.value)
            .status()
            .IgnoreError("only that it returns matters");
      }
    }
  }
  for (const wheeltapper::ConfigKey& key : wheeltapper::ConfigKeys()) {
    wheeltapper::ParseConfigText(key, text).status().IgnoreError("only that it returns matters");
  }
  if (const wheeltapper::Result<Config> config = Config::FromJson(text); config.ok()) {
    const wheeltapper::Result<Config> again = Config::FromJson(config->ToJson());
    if (!again.ok() || again->ToJson() != config->ToJson()) {
      __builtin_trap();
    }
  }
  return 0;
}
