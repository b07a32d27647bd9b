// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.22;

// OpenZeppelin 4.8.3, as deployed: named here only so that the build emits their artifacts.
import {BeaconProxy} from "@openzeppelin/contracts/proxy/beacon/BeaconProxy.sol";
import {UpgradeableBeacon} from "@openzeppelin/contracts/proxy/beacon/UpgradeableBeacon.sol";
