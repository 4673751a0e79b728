//! The words of a fault.

use vfio_user_server::Fault;

const ACTIONS: &str = "delay, stall, drop, error, cut, short, disconnect, lose-irq, stick-irq";
const COMMANDS: &str = "version, dma-map, dma-unmap, device-get-info, device-get-region-info, \
     device-get-region-io-fds, device-get-irq-info, device-set-irqs, region-read, region-write, device-reset, \
     region-write-multi, device-feature, mig-data-read, mig-data-write";

#[test]
fn what_is_wrong_is_named_with_what_would_be_right() {
    for (text, words) in [
        ("", format!("a fault is missing, one of {ACTIONS}")),
        (",ms=1", format!("a fault is missing, one of {ACTIONS}")),
        ("slow", format!("there is no fault 'slow', the faults are {ACTIONS}")),
        ("Delay,ms=1", format!("there is no fault 'Delay', the faults are {ACTIONS}")),
        ("stall,", "an option is missing after a comma".into()),
        ("stall,at", "option 'at' lacks its value, at=VALUE".into()),
        ("stall,=1", "'=1' lacks the option's name".into()),
        ("stall,at=1,count=2,at=3", "option 'at' is there twice".into()),
        (
            "stall,ms=1",
            "fault stall has no option 'ms', its options are command, region, offset, at, count".into(),
        ),
        (
            "delay,bytes=1",
            "fault delay has no option 'bytes', its options are ms, command, region, offset, at, count".into(),
        ),
        (
            "lose-irq,command=any",
            "fault lose-irq has no option 'command', its options are index, vector, at, count".into(),
        ),
        ("delay", "fault delay lacks ms=N".into()),
        ("error,at=1", "fault error lacks errno=ERRNO".into()),
        ("cut", "fault cut lacks bytes=N".into()),
        ("short", "fault short lacks bytes=N".into()),
        ("lose-irq", "fault lose-irq lacks index=INDEX".into()),
        ("stick-irq,vector=0", "fault stick-irq lacks index=INDEX".into()),
        ("delay,ms=", "ms='': a number from 0 to 3600000".into()),
        ("delay,ms=-1", "ms='-1': a number from 0 to 3600000".into()),
        ("delay,ms=+1", "ms='+1': a number from 0 to 3600000".into()),
        ("delay,ms=0x+1", "ms='0x+1': a number from 0 to 3600000".into()),
        ("delay,ms=3600001", "ms='3600001': a number from 0 to 3600000".into()),
        ("delay,ms=1s", "ms='1s': a number from 0 to 3600000".into()),
        ("short,bytes=4294967296", "bytes='4294967296': a number from 0 to 4294967295".into()),
        ("stall,at=0", "at='0': a number from 1 to 18446744073709551615".into()),
        ("stall,count=0", "count='0': always, or a number from 1".into()),
        ("stall,count=ever", "count='ever': always, or a number from 1".into()),
        ("stall,command=65536", format!("command='65536': any, a number from 0 to 65535, or one of {COMMANDS}")),
        (
            "stall,command=REGION_READ",
            format!("command='REGION_READ': any, a number from 0 to 65535, or one of {COMMANDS}"),
        ),
        ("stall,command=", format!("command='': any, a number from 0 to 65535, or one of {COMMANDS}")),
        (
            "stall,command=version,region=0",
            "option 'region' is for command=region-read and region-write alone".into(),
        ),
        (
            "stall,command=region-write-multi,offset=0",
            "option 'offset' is for command=region-read and region-write alone".into(),
        ),
        ("stall,command=dma-read", "command='dma-read': servers say it and clients do not".into()),
        ("stall,command=12", "command='12': servers say it and clients do not".into()),
        (
            "stall,region=bar6",
            "region='bar6': a number, or one of bar0, bar1, bar2, bar3, bar4, bar5, rom, config, vga".into(),
        ),
        ("lose-irq,index=irq", "index='irq': a number, or one of intx, msi, msix, err, req".into()),
        ("lose-irq,index=4294967296", "index='4294967296': a number, or one of intx, msi, msix, err, req".into()),
    ] {
        assert_eq!(text.parse::<Fault>().unwrap_err().to_string(), words, "{text}");
    }
    for text in ["error,errno=EBAD", "error,errno=0", "error,errno=4096", "error,errno="] {
        let said = text.parse::<Fault>().unwrap_err().to_string();
        let value = text.split('=').next_back().unwrap();
        let words =
            format!("errno='{value}': a number from 1 to 4095, or one of Linux's names (EIO)");
        assert_eq!(said, words);
    }
}

#[test]
fn a_fault_is_shown_as_it_was_written() {
    for text in [
        "stall",
        "delay,ms=0x10,command=9",
        "cut,count=always,bytes=0,at=18446744073709551615",
        "error,errno=4095,command=any,region=0,offset=0xffffffffffffffff",
        "lose-irq,index=intx",
        "stick-irq,index=0x2,vector=4294967295,count=3",
    ] {
        assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
    }
}
