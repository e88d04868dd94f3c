"""From a `Project` and plugins' rules to one frozen `SkillPolicy` per skill: pure functions."""
