//! Numbers of protocols and what scapy calls them. The tables hold what is usual on an Ethernet;
//! the rest stays a number.

// Ethernet types, named as in `linux/if_ether.h`.
pub const ETH_P_IP: u16 = 0x0800;
pub const ETH_P_ARP: u16 = 0x0806;
/// Transparent Ethernet Bridging: an Ethernet frame in a tunnel.
pub const ETH_P_TEB: u16 = 0x6558;
pub const ETH_P_RARP: u16 = 0x8035;
pub const ETH_P_8021Q: u16 = 0x8100;
/// ERSPAN, type III.
pub const ETH_P_ERSPAN2: u16 = 0x22eb;
pub const ETH_P_IPV6: u16 = 0x86dd;
pub const ETH_P_SLOW: u16 = 0x8809;
pub const ETH_P_PPP: u16 = 0x880b;
pub const ETH_P_MPLS_UC: u16 = 0x8847;
pub const ETH_P_MPLS_MC: u16 = 0x8848;
pub const ETH_P_PPP_DISC: u16 = 0x8863;
pub const ETH_P_PPP_SES: u16 = 0x8864;
pub const ETH_P_8021AD: u16 = 0x88a8;
/// ERSPAN, types I and II.
pub const ETH_P_ERSPAN: u16 = 0x88be;
pub const ETH_P_LLDP: u16 = 0x88cc;
pub const ETH_P_MACSEC: u16 = 0x88e5;
pub const ETH_P_CFM: u16 = 0x8902;
pub const ETH_P_NSH: u16 = 0x894f;

// IP protocols, named as in `linux/in.h` and `linux/in6.h`.
pub const IPPROTO_HOPOPTS: u8 = 0;
pub const IPPROTO_ICMP: u8 = 1;
pub const IPPROTO_IGMP: u8 = 2;
pub const IPPROTO_IPIP: u8 = 4;
pub const IPPROTO_TCP: u8 = 6;
pub const IPPROTO_UDP: u8 = 17;
pub const IPPROTO_IPV6: u8 = 41;
pub const IPPROTO_ROUTING: u8 = 43;
pub const IPPROTO_FRAGMENT: u8 = 44;
pub const IPPROTO_GRE: u8 = 47;
pub const IPPROTO_ESP: u8 = 50;
pub const IPPROTO_AH: u8 = 51;
pub const IPPROTO_ICMPV6: u8 = 58;
pub const IPPROTO_NONE: u8 = 59;
pub const IPPROTO_DSTOPTS: u8 = 60;
pub const IPPROTO_ETHERIP: u8 = 97;
pub const IPPROTO_SCTP: u8 = 132;
pub const IPPROTO_MPLS: u8 = 137;
pub const IPPROTO_ETHERNET: u8 = 143;

pub fn ether_type(value: u16) -> Option<&'static str> {
    Some(match value {
        ETH_P_IP => "IPv4",
        ETH_P_ARP => "ARP",
        0x22f3 => "TRILL",
        ETH_P_TEB => "TEB",
        ETH_P_RARP => "RARP",
        ETH_P_8021Q => "n_802_1Q",
        0x8137 => "IPX",
        ETH_P_IPV6 => "IPv6",
        ETH_P_SLOW => "SlowProtocol",
        ETH_P_PPP => "PPP",
        ETH_P_MPLS_UC => "MPLS",
        ETH_P_MPLS_MC => "MPLS_MULTI",
        ETH_P_PPP_DISC => "PPP_DISC",
        ETH_P_PPP_SES => "PPP_SES",
        0x888e => "EAPOL",
        ETH_P_8021AD => "802_AD",
        ETH_P_LLDP => "LLDP",
        ETH_P_MACSEC => "802_1AE",
        0x88e7 => "PBB",
        0x88f5 => "MVRP",
        0x88f7 => "PTP",
        0x8906 => "FCOE",
        0x8914 => "FIP",
        0x8915 => "ROCE",
        _ => return None,
    })
}

/// Hardware types of ARP (IANA "ARP Parameters").
pub fn hardware_type(value: u16) -> Option<&'static str> {
    Some(match value {
        1 => "Ethernet (10Mb)",
        6 => "IEEE 802 Networks",
        7 => "ARCNET",
        15 => "Frame relay",
        16 | 19 | 21 => "ATM",
        17 => "HDLC",
        18 => "Fibre Channel",
        20 => "Serial Line",
        _ => return None,
    })
}

pub fn arp_op(value: u16) -> Option<&'static str> {
    Some(match value {
        1 => "who-has",
        2 => "is-at",
        3 => "RARP-req",
        4 => "RARP-rep",
        5 => "Dyn-RARP-req",
        6 => "Dyn-RARP-rep",
        7 => "Dyn-RARP-err",
        8 => "InARP-req",
        9 => "InARP-rep",
        _ => return None,
    })
}

/// `proto` of IPv4.
pub fn ip_proto(value: u8) -> Option<&'static str> {
    Some(match value {
        IPPROTO_HOPOPTS => "hopopt",
        IPPROTO_ICMP => "icmp",
        IPPROTO_IGMP => "igmp",
        IPPROTO_IPIP => "ipencap",
        IPPROTO_TCP => "tcp",
        8 => "egp",
        9 => "igp",
        IPPROTO_UDP => "udp",
        33 => "dccp",
        IPPROTO_IPV6 => "ipv6",
        IPPROTO_ROUTING => "ipv6_route",
        IPPROTO_FRAGMENT => "ipv6_frag",
        46 => "rsvp",
        IPPROTO_GRE => "gre",
        IPPROTO_ESP => "esp",
        IPPROTO_AH => "ah",
        IPPROTO_ICMPV6 => "ipv6_icmp",
        IPPROTO_NONE => "ipv6_nonxt",
        IPPROTO_DSTOPTS => "ipv6_opts",
        88 => "eigrp",
        89 => "ospf",
        94 => "ipip",
        IPPROTO_ETHERIP => "etherip",
        103 => "pim",
        108 => "ipcomp",
        112 => "vrrp",
        115 => "l2tp",
        124 => "isis",
        IPPROTO_SCTP => "sctp",
        136 => "udplite",
        IPPROTO_MPLS => "mpls_in_ip",
        IPPROTO_ETHERNET => "ethernet",
        _ => return None,
    })
}

/// `nh` of IPv6 and its extension headers.
pub fn next_header(value: u8) -> Option<&'static str> {
    Some(match value {
        IPPROTO_HOPOPTS => "Hop-by-Hop Option Header",
        IPPROTO_IPIP => "IP",
        IPPROTO_TCP => "TCP",
        IPPROTO_UDP => "UDP",
        IPPROTO_IPV6 => "IPv6",
        IPPROTO_ROUTING => "Routing Header",
        IPPROTO_FRAGMENT => "Fragment Header",
        IPPROTO_GRE => "GRE",
        IPPROTO_ESP => "ESP Header",
        IPPROTO_AH => "AH Header",
        IPPROTO_ICMPV6 => "ICMPv6",
        IPPROTO_NONE => "No Next Header",
        IPPROTO_DSTOPTS => "Destination Option Header",
        112 => "VRRP",
        IPPROTO_SCTP => "SCTP",
        135 => "Mobility Header",
        _ => return None,
    })
}

/// The number of an IPv4 option, without its copy flag and class.
pub fn ip_option(value: u8) -> Option<&'static str> {
    Some(match value {
        0 => "end_of_list",
        1 => "nop",
        2 => "security",
        3 => "loose_source_route",
        4 => "timestamp",
        5 => "extended_security",
        6 => "commercial_security",
        7 => "record_route",
        8 => "stream_id",
        9 => "strict_source_route",
        10 => "experimental_measurement",
        11 => "mtu_probe",
        12 => "mtu_reply",
        13 => "flow_control",
        14 => "access_control",
        15 => "encode",
        16 => "imi_traffic_descriptor",
        17 => "extended_IP",
        18 => "traceroute",
        19 => "address_extension",
        20 => "router_alert",
        21 => "selective_directed_broadcast_mode",
        23 => "dynamic_packet_state",
        24 => "upstream_multicast_packet",
        25 => "quick_start",
        30 => "rfc4727_experiment",
        _ => return None,
    })
}

pub fn icmp_type(value: u8) -> Option<&'static str> {
    Some(match value {
        0 => "echo-reply",
        3 => "dest-unreach",
        4 => "source-quench",
        5 => "redirect",
        8 => "echo-request",
        9 => "router-advertisement",
        10 => "router-solicitation",
        11 => "time-exceeded",
        12 => "parameter-problem",
        13 => "timestamp-request",
        14 => "timestamp-reply",
        15 => "information-request",
        16 => "information-response",
        17 => "address-mask-request",
        18 => "address-mask-reply",
        30 => "traceroute",
        40 => "photuris",
        _ => return None,
    })
}

pub fn icmp_code(kind: u8, code: u8) -> Option<&'static str> {
    Some(match (kind, code) {
        (3, 0) => "network-unreachable",
        (3, 1) => "host-unreachable",
        (3, 2) => "protocol-unreachable",
        (3, 3) => "port-unreachable",
        (3, 4) => "fragmentation-needed",
        (3, 5) => "source-route-failed",
        (3, 6) => "network-unknown",
        (3, 7) => "host-unknown",
        (3, 9) => "network-prohibited",
        (3, 10) => "host-prohibited",
        (3, 11) => "TOS-network-unreachable",
        (3, 12) => "TOS-host-unreachable",
        (3, 13) => "communication-prohibited",
        (3, 14) => "host-precedence-violation",
        (3, 15) => "precedence-cutoff",
        (5, 0) => "network-redirect",
        (5, 1) => "host-redirect",
        (5, 2) => "TOS-network-redirect",
        (5, 3) => "TOS-host-redirect",
        (11, 0) => "ttl-zero-during-transit",
        (11, 1) => "ttl-zero-during-reassembly",
        (12, 0) => "ip-header-bad",
        (12, 1) => "required-option-missing",
        _ => return None,
    })
}

pub fn icmpv6_type(value: u8) -> Option<&'static str> {
    Some(match value {
        1 => "Destination unreachable",
        2 => "Packet too big",
        3 => "Time exceeded",
        4 => "Parameter problem",
        100 | 101 | 200 | 201 => "Private Experimentation",
        128 => "Echo Request",
        129 => "Echo Reply",
        130 => "MLD Query",
        131 => "MLD Report",
        132 => "MLD Done",
        133 => "Router Solicitation",
        134 => "Router Advertisement",
        135 => "Neighbor Solicitation",
        136 => "Neighbor Advertisement",
        137 => "Redirect Message",
        138 => "Router Renumbering",
        139 => "ICMP Node Information Query",
        140 => "ICMP Node Information Response",
        141 => "Inverse Neighbor Discovery Solicitation Message",
        142 => "Inverse Neighbor Discovery Advertisement Message",
        143 => "MLD Report Version 2",
        151 => "Multicast Router Advertisement",
        152 => "Multicast Router Solicitation",
        153 => "Multicast Router Termination",
        155 => "RPL Control Message",
        _ => return None,
    })
}

pub fn icmpv6_code(kind: u8, code: u8) -> Option<&'static str> {
    Some(match (kind, code) {
        (1, 0) => "No route to destination",
        (1, 1) => "Communication with destination administratively prohibited",
        (1, 2) => "Beyond scope of source address",
        (1, 3) => "Address unreachable",
        (1, 4) => "Port unreachable",
        (3, 0) => "hop limit exceeded in transit",
        (3, 1) => "fragment reassembly time exceeded",
        (4, 0) => "erroneous header field encountered",
        (4, 1) => "unrecognized Next Header type encountered",
        (4, 2) => "unrecognized IPv6 option encountered",
        (4, 3) => "first fragment has incomplete header chain",
        _ => return None,
    })
}

/// `value` of the IPv6 router alert option.
pub fn router_alert(value: u16) -> Option<&'static str> {
    Some(match value {
        0 => "Datagram contains a MLD message",
        1 => "Datagram contains RSVP message",
        2 => "Datagram contains an Active Network message",
        _ => return None,
    })
}

/// `prf` of router advertisements and route information (RFC 4191).
pub fn router_preference(value: u8) -> Option<&'static str> {
    Some(match value {
        0 => "Medium (default)",
        1 => "High",
        2 => "Reserved",
        3 => "Low",
        _ => return None,
    })
}

/// `classid` of Geneve options (IANA "Geneve Option Class").
pub fn geneve_class(value: u16) -> Option<&'static str> {
    Some(match value {
        0x0100 => "Linux",
        0x0101 => "Open vSwitch",
        0x0102 => "Open Virtual Networking (OVN)",
        0x0103 => "In-band Network Telemetry (INT)",
        0x0104 => "VMware",
        _ => return None,
    })
}
