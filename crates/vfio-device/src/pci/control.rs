//! Registers in capabilities that do something when they are written: a function level reset, a way back from D3hot,
//! the holding back of MSI-X.

use crate::config::ConfigSpace;
use crate::pci::capability::id;

const PMC_HIGH: usize = 3;
const PMC_HIGH_D1: u8 = 0x02;
const PMC_HIGH_D2: u8 = 0x04;
const PMCSR: usize = 4;
const PMCSR_STATE: u8 = 0x03;
const PMCSR_NO_SOFT_RESET: u8 = 0x08;
const EXPRESS_CONTROL_HIGH: usize = 9;
const EXPRESS_CONTROL_FLR: u8 = 0x80;
const EXPRESS_CAPABILITIES_HIGHEST: usize = 7;
const EXPRESS_CAPABILITIES_FLR: u8 = 0x10;
const ADVANCED_CAPABILITIES: usize = 3;
const ADVANCED_CAPABILITIES_FLR: u8 = 0x02;
const ADVANCED_CONTROL: usize = 4;
const ADVANCED_CONTROL_FLR: u8 = 0x01;
const MSIX_CONTROL_HIGH: usize = 3;
const MSIX_ENABLED_AND_MASKED: u8 = 0xc0;

/// Where the capabilities are that the core acts on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Controls {
    power: Option<usize>,
    express: Option<usize>,
    advanced: Option<usize>,
    msix: Option<usize>,
}

impl Controls {
    /// Finds them in a list that has been checked.
    pub(crate) fn find(config: &ConfigSpace) -> Self {
        let at = |id| config.capabilities().find(|&at| config.byte(at) == id);
        let has = |at: &usize, offset: usize, bit: u8| config.byte(at + offset) & bit != 0;
        Self {
            power: at(id::POWER_MANAGEMENT),
            express: at(id::EXPRESS)
                .filter(|at| has(at, EXPRESS_CAPABILITIES_HIGHEST, EXPRESS_CAPABILITIES_FLR)),
            advanced: at(id::ADVANCED_FEATURES)
                .filter(|at| has(at, ADVANCED_CAPABILITIES, ADVANCED_CAPABILITIES_FLR)),
            msix: at(id::MSIX),
        }
    }

    /// Carries a guest's write out; whether it asks for a reset of the function.
    pub(crate) fn write(&self, config: &mut ConfigSpace, offset: usize, data: &[u8]) -> bool {
        let sets = |at: Option<usize>, register: usize, bit: u8| {
            at.and_then(|at| data.get((at + register).checked_sub(offset)?))
                .is_some_and(|byte| byte & bit != 0)
        };
        let power = self.power.map(|at| (at, config.byte(at + PMCSR)));
        config.write(offset, data);
        sets(self.express, EXPRESS_CONTROL_HIGH, EXPRESS_CONTROL_FLR)
            || sets(self.advanced, ADVANCED_CONTROL, ADVANCED_CONTROL_FLR)
            || power.is_some_and(|(at, before)| powered_up(config, at, before))
    }

    /// Takes what a client had set up out of message control.
    pub(crate) fn disable_msix(&self, config: &mut ConfigSpace) {
        if let Some(at) = self.msix.map(|at| at + MSIX_CONTROL_HIGH) {
            config.set(at, &[config.byte(at) & !MSIX_ENABLED_AND_MASKED]);
        }
    }

    /// Whether MSI-X is enabled and masked as a whole.
    pub(crate) fn is_msix_masked(&self, config: &ConfigSpace) -> bool {
        self.msix.is_some_and(|at| {
            config.byte(at + MSIX_CONTROL_HIGH) & MSIX_ENABLED_AND_MASKED == MSIX_ENABLED_AND_MASKED
        })
    }
}

/// After a write to the capability at `at`: whether the function has come from D3hot to D0 and loses its state by it. A
/// state that it does not have is not taken.
fn powered_up(config: &mut ConfigSpace, at: usize, before: u8) -> bool {
    let (now, has) = (config.byte(at + PMCSR), config.byte(at + PMC_HIGH));
    let state = now & PMCSR_STATE;
    if state == 1 && has & PMC_HIGH_D1 == 0 || state == 2 && has & PMC_HIGH_D2 == 0 {
        config.set(at + PMCSR, &[now & !PMCSR_STATE | before & PMCSR_STATE]);
    }
    before & PMCSR_STATE == PMCSR_STATE && state == 0 && now & PMCSR_NO_SOFT_RESET == 0
}
