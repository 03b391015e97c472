//! The stages of a rollout: the one table that says what each of them means, and the list of stages that one rollout
//! passes. Everything else that names a stage (weights, documents, tests) takes it from here.
//!
//! A stage is stored state and never inferred from weights: `Blue_100` and `Blue_Green` have the same ones.

use crate::weights::Weights;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One line of the stage table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageRow {
    /// The stage, which knows its name and weights.
    pub stage: Stage,
    /// What else happens in it.
    pub also: &'static str,
    /// When it is left.
    pub leaves_when: &'static str,
}

/// The stages in their order. A rollout may have other weights between the first and the third.
pub const STAGE_TABLE: [StageRow; 5] = [
    StageRow {
        stage: Stage::BLUE_0,
        also: "new image deployed as blue beside green",
        leaves_when: "blue ready and warmed",
    },
    StageRow { stage: Stage::BLUE_50, also: "", leaves_when: "gate passed" },
    StageRow { stage: Stage::BLUE_100, also: "", leaves_when: "gate passed" },
    StageRow {
        stage: Stage::BlueGreen,
        also: "the old green is replaced by the new image while blue serves everything",
        leaves_when: "green ready on the new image, equal to blue",
    },
    StageRow { stage: Stage::Green100, also: "blue is drained, then removed", leaves_when: "done" },
];

/// A stage. The order of the values is the order of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Stage {
    /// `Blue_0` to `Blue_100`: blue, the candidate, has this share; green serves the stable image.
    Blue(Percent),
    /// `Blue_Green`: blue serves everything while green is replaced by the candidate.
    BlueGreen,
    /// `Green_100`: green serves everything, and blue goes.
    Green100,
}

/// 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Percent(u8);

impl Stage {
    /// Blue is deployed and has no weight.
    pub const BLUE_0: Self = Self::Blue(Percent(0));
    /// Both have the same weight.
    pub const BLUE_50: Self = Self::Blue(Percent(50));
    /// Blue has all weight; green still serves the stable image.
    pub const BLUE_100: Self = Self::Blue(Percent(100));

    /// `Blue_<share>`; none above 100.
    pub fn blue(share: u8) -> Option<Self> {
        (share <= 100).then_some(Self::Blue(Percent(share)))
    }

    /// The weights that the stage wants, as long as both backends can take them.
    pub const fn weights(self) -> Weights {
        match self {
            Self::Blue(Percent(blue)) => Weights { green: 100 - blue as u32, blue: blue as u32 },
            Self::BlueGreen => Weights { green: 0, blue: 100 },
            Self::Green100 => Weights { green: 100, blue: 0 },
        }
    }

    /// Whether green may no longer serve the stable image, so that going back takes more than weights.
    pub fn replaces_green(self) -> bool {
        self >= Self::BlueGreen
    }

    /// Whether the stage shows blue to users and keeps the way back open: there people look before they go on.
    pub(crate) fn exposes_blue(self) -> bool {
        self > Self::BLUE_0 && !self.replaces_green()
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Stage {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Stage".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^(Blue_(0|[1-9][0-9]?|100)|Blue_Green|Green_100)$",
            "maxLength": 10,
        })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blue(Percent(share)) => write!(f, "Blue_{share}"),
            Self::BlueGreen => f.write_str("Blue_Green"),
            Self::Green100 => f.write_str("Green_100"),
        }
    }
}

/// A text that names no stage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no stage: write Blue_0, Blue_<weight of blue>, Blue_100, Blue_Green or Green_100")]
pub struct UnknownStage(String);

impl FromStr for Stage {
    type Err = UnknownStage;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownStage(text.to_owned());
        match text {
            "Blue_Green" => return Ok(Self::BlueGreen),
            "Green_100" => return Ok(Self::Green100),
            _ => {}
        }
        let share = text.strip_prefix("Blue_").and_then(|share| share.parse().ok()).ok_or_else(unknown)?;
        // Only the name that is also written counts: `Blue_050` would be a second name for one stage.
        Self::blue(share).filter(|stage| stage.to_string() == text).ok_or_else(unknown)
    }
}

impl TryFrom<String> for Stage {
    type Error = UnknownStage;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Stage> for String {
    fn from(stage: Stage) -> Self {
        stage.to_string()
    }
}

/// What is wanted of a rollout, and what it has reached: a stage, or that it is rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// A stage.
    Stage(Stage),
    /// `Rollback`: the stable image has all weight again.
    Rollback,
}

impl Target {
    /// The stage, unless it is a rollback.
    pub fn stage(self) -> Option<Stage> {
        match self {
            Self::Stage(stage) => Some(stage),
            Self::Rollback => None,
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Target {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Target".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^(Blue_(0|[1-9][0-9]?|100)|Blue_Green|Green_100|Rollback)$",
            "maxLength": 10,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage(stage) => stage.fmt(f),
            Self::Rollback => f.write_str("Rollback"),
        }
    }
}

/// A text that names neither a stage nor a rollback.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; or Rollback")]
pub struct UnknownTarget(UnknownStage);

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "Rollback" => Ok(Self::Rollback),
            stage => stage.parse().map(Self::Stage).map_err(UnknownTarget),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = UnknownTarget;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

/// The stages that one rollout passes, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagePlan(Vec<Stage>);

/// Why a list of weights makes no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StagePlanError {
    /// The weights at the ends are always there.
    #[error("weight {0} is not between 0 and 100: Blue_0 and Blue_100 are always there, list only what lies between")]
    OutOfRange(u32),
    /// A candidate's weight only ever rises.
    #[error("weight {1} follows {0}: the weights must rise")]
    NotRising(u8, u8),
}

impl Default for StagePlan {
    fn default() -> Self {
        Self(STAGE_TABLE.map(|row| row.stage).to_vec())
    }
}

impl StagePlan {
    /// The plan with these weights of blue between `Blue_0` and `Blue_100`, which rise.
    pub fn new(between: &[u32]) -> Result<Self, StagePlanError> {
        let mut stages = vec![Stage::BLUE_0];
        let mut last = 0;
        for &weight in between {
            let share = u8::try_from(weight).ok().filter(|share| (1..100).contains(share));
            let share = share.ok_or(StagePlanError::OutOfRange(weight))?;
            if share <= last {
                return Err(StagePlanError::NotRising(last, share));
            }
            stages.push(Stage::Blue(Percent(share)));
            last = share;
        }
        stages.extend([Stage::BLUE_100, Stage::BlueGreen, Stage::Green100]);
        Ok(Self(stages))
    }

    /// The stages, in order.
    pub fn stages(&self) -> &[Stage] {
        &self.0
    }

    /// Whether the rollout passes it.
    pub fn contains(&self, stage: Stage) -> bool {
        self.0.contains(&stage)
    }

    /// The stage after `stage`, which need not be in the plan itself: the list may change while a rollout is under way.
    pub fn after(&self, stage: Stage) -> Option<Stage> {
        self.0.iter().copied().find(|&next| next > stage)
    }
}

impl fmt::Display for StagePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(Stage::to_string).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;

    #[test]
    fn the_table_is_the_published_one() {
        let rows = STAGE_TABLE.map(|row| (row.stage.to_string(), row.stage.weights().green, row.stage.weights().blue));
        let expected = [
            ("Blue_0", 100, 0),
            ("Blue_50", 50, 50),
            ("Blue_100", 0, 100),
            ("Blue_Green", 0, 100),
            ("Green_100", 100, 0),
        ];
        assert_eq!(rows, expected.map(|(name, green, blue)| (name.to_owned(), green, blue)));
    }

    #[test]
    fn every_name_is_read_back_and_no_other_is() {
        for stage in (0..=100).filter_map(Stage::blue).chain([Stage::BlueGreen, Stage::Green100]) {
            assert_eq!(stage.to_string().parse(), Ok(stage));
            assert_eq!(stage.to_string().parse(), Ok(Target::Stage(stage)));
        }
        assert_eq!("Rollback".parse(), Ok(Target::Rollback));
        for text in ["", "Blue_", "Blue_101", "Blue_050", "Blue_+5", "Blue_-1", "blue_50", "Green_50", "Rollback"] {
            assert_eq!(text.parse::<Stage>(), Err(UnknownStage(text.to_owned())), "{text}");
        }
        assert_eq!(
            "Blue_x".parse::<Target>().unwrap_err().to_string(),
            "`Blue_x` is no stage: write Blue_0, Blue_<weight of blue>, Blue_100, Blue_Green or Green_100; or Rollback"
        );
    }

    #[test]
    fn a_plan_takes_any_rising_weights_between_the_ends() {
        let check = |weights: &[u32], expected: Result<&str, &str>| {
            let plan = StagePlan::new(weights).map(|plan| plan.to_string()).map_err(|error| error.to_string());
            assert_eq!(plan.as_deref().map_err(String::as_str), expected, "{weights:?}");
        };
        check(&[50], Ok("Blue_0, Blue_50, Blue_100, Blue_Green, Green_100"));
        check(&[], Ok("Blue_0, Blue_100, Blue_Green, Green_100"));
        check(&[5, 25, 50], Ok("Blue_0, Blue_5, Blue_25, Blue_50, Blue_100, Blue_Green, Green_100"));
        check(&[25, 5], Err("weight 5 follows 25: the weights must rise"));
        check(&[5, 5], Err("weight 5 follows 5: the weights must rise"));
        for outside in [0, 100, 101, 300] {
            assert_eq!(StagePlan::new(&[outside]), Err(StagePlanError::OutOfRange(outside)));
        }
        assert_eq!(StagePlan::new(&[50]).unwrap(), StagePlan::default());
    }

    #[test]
    fn the_next_stage_is_found_from_one_that_left_the_plan() {
        let plan = StagePlan::new(&[50]).unwrap();
        assert_eq!(plan.after(Stage::blue(25).unwrap()), Some(Stage::BLUE_50));
        assert_eq!(plan.after(Stage::BLUE_100), Some(Stage::BlueGreen));
        assert_eq!(plan.after(Stage::Green100), None);
    }

    #[test]
    fn every_stage_of_every_plan_has_a_weight() {
        for stage in (0..=100).filter_map(Stage::blue).chain([Stage::BlueGreen, Stage::Green100]) {
            let Weights { green, blue } = stage.weights();
            assert_eq!(green + blue, 100, "{stage}");
        }
    }
}
