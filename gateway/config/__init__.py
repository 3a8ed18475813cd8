"""gateway.yaml: one file, every key documented in `examples/gateway.yaml`.

    config = load(Path("gateway.yaml"))     # or ConfigError, with every problem in it at once

`keys`, `upstreams`, `routes` hold what people write under the key of that name, `root` the rest and the whole;
`reading` makes one of a file, `problems` says what is wrong with it, never showing a secret.
"""

from gateway.config.capture import CaptureConfig
from gateway.config.keys import KeyConfig, KeyLimitsConfig
from gateway.config.problems import ConfigError, cut, describe
from gateway.config.reading import is_reference, load, parse
from gateway.config.risk import PolicyModelConfig, RiskConfig, SafetyNetConfig
from gateway.config.rollout import RolloutConfig
from gateway.config.root import Config, LimitsConfig, is_loopback, split_listen
from gateway.config.routes import DeadlinesConfig, FallbackConfig, RouteConfig, VerifyConfig
from gateway.config.upstreams import BreakerConfig, HealthConfig, PriceConfig, UpstreamConfig, UpstreamLimitsConfig
from gateway.config.values import is_header_text

__all__ = [
    "BreakerConfig",
    "CaptureConfig",
    "Config",
    "ConfigError",
    "DeadlinesConfig",
    "FallbackConfig",
    "HealthConfig",
    "KeyConfig",
    "KeyLimitsConfig",
    "LimitsConfig",
    "PolicyModelConfig",
    "PriceConfig",
    "RiskConfig",
    "RolloutConfig",
    "RouteConfig",
    "SafetyNetConfig",
    "UpstreamConfig",
    "UpstreamLimitsConfig",
    "VerifyConfig",
    "cut",
    "describe",
    "is_header_text",
    "is_loopback",
    "is_reference",
    "load",
    "parse",
    "split_listen",
]
