//! The stages of a rollout: the one table that says what each of them means, and the list of stages that one rollout
//! passes. Everything else that names a stage (weights, documents, tests) takes it from here.
//!
//! A stage is stored state and never inferred from weights: `Blue_100` and `Blue_Green` have the same ones.

use crate::weights::Weights;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
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
    StageRow { stage: Stage::BLUE_50, also: "", leaves_when: "what it requires is fulfilled" },
    StageRow { stage: Stage::BLUE_100, also: "", leaves_when: "what it requires is fulfilled" },
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

/// 0 to 100, in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Percent(u16);

impl Percent {
    const WHOLE: u16 = 10_000;

    /// Whole weights, as small as they can be: the sum is 100, or 1,000 or 10,000 where the share has decimals.
    const fn weights(self) -> Weights {
        let unit = match (self.0 % 100, self.0 % 10) {
            (0, _) => 100,
            (_, 0) => 10,
            _ => 1,
        };
        Weights { green: ((Self::WHOLE - self.0) / unit) as u32, blue: (self.0 / unit) as u32 }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, hundredths) if hundredths % 10 == 0 => write!(f, "{whole}.{}", hundredths / 10),
            (whole, hundredths) => write!(f, "{whole}.{hundredths:02}"),
        }
    }
}

impl FromStr for Percent {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let hundredths: u16 = format!("{decimals:0<2}").parse().map_err(drop)?;
        let whole: u16 = whole.parse().map_err(drop)?;
        let percent = whole.checked_mul(100).and_then(|whole| whole.checked_add(hundredths)).map(Self).ok_or(())?;
        // Only the name that is also written counts: `050` would be a second one for the same share.
        if percent.0 <= Self::WHOLE && percent.to_string() == text { Ok(percent) } else { Err(()) }
    }
}

impl Stage {
    /// Blue is deployed and has no weight.
    pub const BLUE_0: Self = Self::Blue(Percent(0));
    /// Both have the same weight.
    pub const BLUE_50: Self = Self::Blue(Percent(5_000));
    /// A tenth is held back.
    pub(crate) const BLUE_90: Self = Self::Blue(Percent(9_000));
    /// Blue has all weight; green still serves the stable image.
    pub const BLUE_100: Self = Self::Blue(Percent(Percent::WHOLE));

    /// The weights that the stage wants, as long as both backends can take them.
    pub const fn weights(self) -> Weights {
        match self {
            Self::Blue(percent) => percent.weights(),
            Self::BlueGreen => Weights { green: 0, blue: 100 },
            Self::Green100 => Weights { green: 100, blue: 0 },
        }
    }

    /// Whether green may no longer serve the stable image, so that going back takes more than weights.
    pub fn replaces_green(self) -> bool {
        self >= Self::BlueGreen
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
            "pattern": "^(Blue_((0|[1-9][0-9]?)([.][0-9]?[1-9])?|100)|Blue_Green|Green_100)$",
            "maxLength": 32,
        })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blue(share) => write!(f, "Blue_{share}"),
            Self::BlueGreen => f.write_str("Blue_Green"),
            Self::Green100 => f.write_str("Green_100"),
        }
    }
}

/// A text that names no stage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown stage `{0}`: write Blue_0, Blue_<percent of blue, as 5 or 0.5>, Blue_100, Blue_Green or Green_100")]
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
        let share = text.strip_prefix("Blue_").and_then(|share| share.parse().ok());
        share.map(Self::Blue).ok_or_else(unknown)
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

impl From<Stage> for Target {
    fn from(stage: Stage) -> Self {
        Self::Stage(stage)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Target {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Target".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        // What a rollout may have as its target depends on its steps, and is told by a rule.
        schemars::json_schema!({"type": "string", "maxLength": 32})
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

/// A list of stages that makes no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{1} follows {0}: write the stages in their order, each once")]
pub struct NotRising(pub Stage, pub Stage);

impl Default for StagePlan {
    fn default() -> Self {
        Self(STAGE_TABLE.map(|row| row.stage).to_vec())
    }
}

impl StagePlan {
    /// The plan that passes these stages, and those that every rollout passes.
    pub fn new(listed: &[Stage]) -> Result<Self, NotRising> {
        if let Some(pair) = listed.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(NotRising(pair[0], pair[1]));
        }
        let always = [Stage::BLUE_0, Stage::BLUE_100, Stage::BlueGreen, Stage::Green100];
        let stages: BTreeSet<Stage> = always.into_iter().chain(listed.iter().copied()).collect();
        Ok(Self(stages.into_iter().collect()))
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

    fn all() -> impl Iterator<Item = Stage> {
        (0..=Percent::WHOLE)
            .map(|hundredths| Stage::Blue(Percent(hundredths)))
            .chain([Stage::BlueGreen, Stage::Green100])
    }

    fn stages(names: &[&str]) -> Vec<Stage> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn every_name_is_read_back_and_no_other_is() {
        for stage in all() {
            assert_eq!(stage.to_string().parse(), Ok(stage));
            assert_eq!(stage.to_string().parse(), Ok(Target::Stage(stage)));
        }
        assert_eq!("Rollback".parse(), Ok(Target::Rollback));
        let others = [
            "",
            "Blue_",
            "Blue_101",
            "Blue_050",
            "Blue_+5",
            "Blue_-1",
            "blue_50",
            "Green_50",
            "Rollback",
            "Blue_.5",
            "Blue_0.",
            "Blue_0.0",
            "Blue_0.50",
            "Blue_0.005",
            "Blue_0.+5",
            "Blue_100.5",
            "Blue_1e1",
            "Blue_655.36",
        ];
        for text in others {
            assert_eq!(text.parse::<Stage>(), Err(UnknownStage(text.to_owned())), "{text}");
        }
        assert_eq!(
            "Blue_x".parse::<Target>().unwrap_err().to_string(),
            "unknown stage `Blue_x`: write Blue_0, Blue_<percent of blue, as 5 or 0.5>, Blue_100, Blue_Green or \
             Green_100; or Rollback"
        );
    }

    #[test]
    fn a_plan_takes_stages_in_their_order_and_has_the_ends() {
        let check = |listed: &[&str], expected: Result<&str, &str>| {
            let plan = StagePlan::new(&stages(listed)).map(|plan| plan.to_string()).map_err(|error| error.to_string());
            assert_eq!(plan.as_deref().map_err(String::as_str), expected, "{listed:?}");
        };
        check(&["Blue_50"], Ok("Blue_0, Blue_50, Blue_100, Blue_Green, Green_100"));
        check(&[], Ok("Blue_0, Blue_100, Blue_Green, Green_100"));
        check(&["Blue_0.5", "Blue_25", "Blue_100"], Ok("Blue_0, Blue_0.5, Blue_25, Blue_100, Blue_Green, Green_100"));
        check(&["Blue_25", "Blue_5"], Err("Blue_5 follows Blue_25: write the stages in their order, each once"));
        check(&["Blue_5", "Blue_5"], Err("Blue_5 follows Blue_5: write the stages in their order, each once"));
        check(
            &["Blue_Green", "Blue_100"],
            Err("Blue_100 follows Blue_Green: write the stages in their order, each once"),
        );
        assert_eq!(StagePlan::new(&[Stage::BLUE_50]).unwrap(), StagePlan::default());
    }

    #[test]
    fn the_next_stage_is_found_from_one_that_left_the_plan() {
        let plan = StagePlan::default();
        assert_eq!(plan.after("Blue_25".parse().unwrap()), Some(Stage::BLUE_50));
        assert_eq!(plan.after(Stage::BLUE_100), Some(Stage::BlueGreen));
        assert_eq!(plan.after(Stage::Green100), None);
    }

    #[test]
    fn every_stage_has_whole_weights_in_its_proportion() {
        for stage in all() {
            let Weights { green, blue } = stage.weights();
            let sum = green + blue;
            assert!([100, 1_000, 10_000].contains(&sum), "{stage}: {green} + {blue}");
            if let Stage::Blue(Percent(hundredths)) = stage {
                assert_eq!(blue * 10_000, u32::from(hundredths) * sum, "{stage}");
            }
        }
        let weights = |name: &str| name.parse::<Stage>().unwrap().weights();
        assert_eq!(weights("Blue_0.5"), Weights { green: 995, blue: 5 });
        assert_eq!(weights("Blue_0.25"), Weights { green: 9_975, blue: 25 });
        assert_eq!(weights("Blue_12"), Weights { green: 88, blue: 12 });
    }
}
